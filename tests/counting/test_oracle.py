"""The oracle, for a while, and every mutant of the protocol found wrong: rows 94 and 109, law 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

import postgres
from tests.counting import oracle
from tests.harness.processes import Crew

SECONDS = 600 if os.environ.get("KCK_TEST_FULL") == "1" else 15


@pytest.fixture(scope="module")
def city() -> Iterator[Any]:
    """A server of its own, that knows prepared transactions."""
    with postgres.server(options={"max_prepared_transactions": 50}) as server, Crew(server.url) as crew:
        migrated = crew.manage("migrate", "--run-syncdb", "-v0")
        assert migrated.wait() == 0, migrated.output
        yield crew


@pytest.mark.once("oldest")
@pytest.mark.slow
def test_whatever_is_read_equals_a_recount_whoever_writes_counts_folds_steals_or_dies_law_2(
    city: Any,
) -> None:
    report = oracle.run(city, SECONDS, seed=1)
    assert report.wrong == []
    assert report.checks > 100 * SECONDS / 15
    assert report.counts["count done"] > 10
    assert report.counts["deltas folded"] > 500
    assert report.counts["killed"] > 0


@pytest.mark.slow
@pytest.mark.once("newest")
@pytest.mark.parametrize("mutant", oracle.MUTANTS)
def test_the_oracle_finds_each_mutant_of_the_protocol(city: Any, mutant: str) -> None:
    for seed in range(2, 10):
        report = oracle.run(city, 15, seed=seed, mutant=mutant, kills=False)
        if report.wrong:
            return
    raise AssertionError(f"{mutant!r} was never found wrong: {report}")
