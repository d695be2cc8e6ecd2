"""Fixtures of the tests that play on the stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.processes import Crew
from tests.stage.directing import House, Stage, Theatre


@pytest.fixture(scope="session")
def house(django_db_setup: None) -> Iterator[House]:
    """Reading processes that stay; gone before the test database is dropped."""
    house = House()
    yield house
    house.close()


@pytest.fixture
def theatre(crew: Crew, house: House, tmp_path: Path) -> Iterator[Theatre]:
    """A stage of this test's own, readers and workers on the test's database."""
    theatre = Theatre(Stage(tmp_path), crew, house)
    yield theatre
    crew.close()
    house.rest()
