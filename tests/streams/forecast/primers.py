"""Time frames over what stations measure; in a process of its own all are there, a test registers those it is about.

Where ``FC_GATES`` names a directory, what computes tells there that it does, and waits while ``hold-<point>`` is there.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kck_flow import Key, ModelStream, On, Primer, StringParameter, TimeFrame
from tests.streams.weather.models import HourOfStation, Measured, Wrote

MEASURED = ModelStream("weather.Measured", at="at", name="measured", watermark="latest")
# How often each key was computed and merged, and cleaned up after, in this process.
computed: Counter[str] = Counter()
merged: Counter[str] = Counter()
cleaned: Counter[str] = Counter()
# Keys that fail, and those whose cleanup does.
failing: set[str] = set()
failing_cleanup: set[str] = set()


def gate(point: str, key: str) -> None:
    """Say that this process is here, and wait while it is held."""
    where = os.environ.get("FC_GATES")
    if where is None:
        return
    held = Path(where) / f"hold-{point}"
    if held.exists():
        (Path(where) / f"at-{point}-{os.getpid()}").write_text(key)
        while held.exists():
            time.sleep(0.01)


class Summing(TimeFrame):
    """Abstract: how many, and their sum."""

    stream = MEASURED
    quiet = None
    backoff = timedelta(milliseconds=10)
    corrections = timedelta(0)

    def compute(self, key: Key, items: Any) -> Any:
        computed[str(key)] += 1
        Wrote.objects.create(key=key, pid=os.getpid())
        gate("computing", key)
        if key in failing:
            raise ValueError(f"no sum of {key}")
        return {"n": len(items), "sum": sum(item.value for item in items)}

    def merge(self, key: Key, parts: Any) -> Any:
        merged[str(key)] += 1
        return {"n": sum(part.value["n"] for part in parts), "sum": sum(part.value["sum"] for part in parts)}


class Hourly(Summing):
    """What was measured in an hour."""

    key_base, duration = "fc_hourly", "hour"


class Quarter(Summing):
    """A quarter of a minute."""

    key_base, duration = "fc_quarter", timedelta(seconds=15)


class Berlin(Summing):
    """Days of Berlin."""

    key_base, duration, tz = "fc_berlin", "day", "Europe/Berlin"


class Three(Summing):
    """Three sizes from one pass."""

    key_base, windows, tz = "fc_three", ["1m", "1h", "1d"], "UTC"
    max_pending = 10_000


class Stations(Summing):
    """Each station's hours."""

    key_base, duration = "fc_stations", "hour"
    parameters = [StringParameter("station")]

    def domain(self) -> Any:
        return ["JFK", "LAX"]


class Patient(Summing):
    """Waits ten minutes for what comes late, and looks again for a day."""

    key_base, duration = "fc_patient", "hour"
    lateness = timedelta(minutes=10)
    corrections = timedelta(days=1)


class Counting(Patient):
    """Counts what comes late, and no more."""

    key_base, late = "fc_counting", "count"


class Quiet(Summing):
    """Closes when nothing comes."""

    key_base, duration = "fc_quiet", "hour"
    quiet = timedelta(minutes=10)


class Tidy(Summing):
    """Cleans up after itself."""

    key_base, duration = "fc_tidy", "hour"
    retries = 1

    def cleanup(self, key: Key, record: Any) -> None:
        cleaned[str(key)] += 1
        gate("cleaning", key)
        if key in failing_cleanup:
            raise OSError(f"nowhere to clean up {key}")
        Wrote.objects.create(key=key, pid=os.getpid(), what=f"cleanup {record.value['n']}")


class Daily(Summing):
    """Who measured in a day."""

    key_base, duration, tz = "fc_daily", "day", "UTC"

    def compute(self, key: Key, items: Any) -> Any:
        computed[str(key)] += 1
        return sorted({item.station for item in items})


class Weekly(TimeFrame):
    """Who measured in seven days, each day."""

    key_base, duration, hop, tz = "fc_weekly", timedelta(days=7), "day", "UTC"
    merges = Daily

    def merge(self, key: Key, parts: Any) -> Any:
        merged[str(key)] += 1
        return sorted({station for part in parts for station in part.value})


class Columns(TimeFrame):
    """Its values are rows of a table of its own."""

    key_base, duration = "fc_columns", "hour"
    stream, quiet, corrections = MEASURED, None, timedelta(0)
    record_model = HourOfStation

    def compute(self, key: Key, items: Any) -> Any:
        total = sum(item.value for item in items)
        if not len(items):
            return HourOfStation(total=0, mean=None)
        return {"total": total, "mean": round(total / len(items), 2)}


class Below(Primer):
    """Made of an hour."""

    key_base = "fc_below"
    depends_on = [On("fc_hourly", key=lambda change: "fc_below", then="refresh")]

    def compute(self, key: Key) -> Any:
        from kck_flow import Cache

        computed[str(key)] += 1
        return Cache.get_instance().get("fc_hourly/2026-01-31T10")["sum"] * 2


START = datetime(2026, 1, 31, 10, tzinfo=UTC)


def measure(*minutes: float, value: int = 1, station: str = "JFK", start: datetime = START) -> None:
    """Add measurements at so many minutes after ``start``."""
    Measured.objects.bulk_create(
        Measured(at=start + timedelta(minutes=at), value=value, station=station) for at in minutes
    )
