"""Loaded before everything else (`-p tests.plugin`): a database, before Django reads its settings; and `--suite`."""

import contextlib
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import postgres


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Start a PostgreSQL for this run unless DATABASE_URL names one, as it does in the workers of xdist."""
    if not os.environ.get("DATABASE_URL") and not early_config.known_args_namespace.collectonly:
        stack = contextlib.ExitStack()
        early_config.add_cleanup(stack.close)
        os.environ["DATABASE_URL"] = stack.enter_context(postgres.server()).url
        stack.callback(os.environ.pop, "DATABASE_URL", None)
    return (yield)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--suite",
        metavar="NAME",
        help="leave out what is marked once(ANOTHER NAME): .ci/run has two suites, oldest and newest",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if suite := config.getoption("--suite"):
        elsewhere = {item for item in items for mark in item.iter_markers("once") if mark.args != (suite,)}
        config.hook.pytest_deselected(items=list(elsewhere))
        items[:] = [item for item in items if item not in elsewhere]
