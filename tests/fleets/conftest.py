"""What every fleet's tests have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kck_flow.executors.probe.primers import Probe
from kck_flow.testing import registered, reset


@pytest.fixture(autouse=True)
def probe(transactional_db: None) -> Iterator[None]:
    """The product that the members compute."""
    reset()
    with registered(Probe):
        yield
    reset()
