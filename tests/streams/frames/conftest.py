"""Frames of the forecast, registered for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kck_flow.primer import Primer
from kck_flow.registry import registry
from tests.streams.forecast import primers


@pytest.fixture
def declare() -> Iterator[Callable[..., Any]]:
    """Register primer classes until the test is over; returns the last."""
    declared: list[type[Primer]] = []

    def register(*classes: type[Primer]) -> Any:
        primer = None
        for one in classes:
            primer = registry.register(one)
            declared.append(one)
            broken = [str(one.error) for one in registry.broken]
            assert primer is not None, broken
        return primer

    for known in (primers.computed, primers.merged, primers.cleaned):
        known.clear()
    primers.failing.clear()
    primers.failing_cleanup.clear()
    yield register
    for one in declared:
        registry.withdraw(one)
