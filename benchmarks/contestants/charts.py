"""Charts: points made into a picture on the server."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.contestants.base import Contestant

START = datetime(2025, 5, 1, tzinfo=UTC)


def walk(seed: int, number: int) -> list[tuple[datetime, datetime, float]]:
    """Return so many hours of something that wanders: from, to, value."""
    chance, level = random.Random(seed), 50.0
    found = []
    for at in range(number):
        level += chance.gauss(0, 1) + (50 - level) * 0.01
        found.append((START + timedelta(hours=at), START + timedelta(hours=at + 1), round(level, 2)))
    return found


class Drawing(Contestant):
    """kck_flow: ``lines`` with axes, legend and, within a page, what its cursor shows."""

    def __init__(self, name: str, places: dict[str, Any], alone: bool) -> None:
        super().__init__(name, places)
        self.alone = alone

    def drawer(self, series: int, number: int) -> Callable[[], str]:
        """Return the call that makes a chart of so many series of so many points."""
        from kck_flow.drawing.charts import Series, Sheet, lines
        from kck_flow.entry import Point

        drawn = [
            Series(
                f"series {seed}",
                [Point(*each, at < number - 1) for at, each in enumerate(walk(seed, number))],
            )
            for seed in range(series)
        ]
        sheet = Sheet(title="A year of hours", theme="light" if self.alone else None)
        return lambda: lines(drawn, sheet)
