"""A day of items, as rows of the model and as light rows of one column."""

from __future__ import annotations

from typing import Any

from kck_flow import Key, ModelStream, TimeFrame


class Day(TimeFrame):
    """How many, and their sum; the items are instances."""

    key_base, duration, tz, quiet = "bench_day", "day", "UTC", None
    stream = ModelStream("bench_frames.Item", at="at", name="items", watermark="latest")

    def compute(self, key: Key, items: Any) -> Any:
        number = total = 0
        for item in items:
            number += 1
            total += item.value
        return {"number": number, "total": total}


class LightDay(Day):
    """The same, of one column."""

    key_base = "bench_light_day"
    stream = ModelStream("bench_frames.Item", at="at", name="light", watermark="latest", fields=["value"])
