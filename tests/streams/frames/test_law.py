"""Law 7 of frames: whatever happens, and in whichever order, each closed frame is in the end what a recount tells."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kck_flow.models import Frame, Record
from kck_flow.registry import registry
from kck_flow.streams import frames
from kck_flow.testing import registered, run_worker
from tests.streams.forecast.primers import START, Summing, measure
from tests.streams.weather.models import Measured

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PAST = START - 2 * HOUR  # nobody planned what lies before START
HOURS = 2


class Sizes(Summing):
    """Twenty minutes, and hours that are merged from them."""

    key_base, windows, tz = "fc_law", ["20m", "1h"], "UTC"
    corrections = timedelta(days=1)
    max_pending = 5


class Pairs(Summing):
    """Two hours, merged from another family."""

    key_base, duration, merges, stream = "fc_law_pairs", timedelta(hours=2), Sizes, None


class Sliding(Summing):
    """An hour, each twenty minutes."""

    key_base, duration, hop, merges, stream = "fc_law_sliding", HOUR, "20m", Sizes, None


NAMES = ["fc_law", "fc_law_pairs", "fc_law_sliding"]
minutes = st.integers(0, HOURS * 60 - 1)
steps = st.one_of(
    st.tuples(st.sampled_from(["insert", "edit", "edit", "delete"]), minutes),
    st.tuples(st.sampled_from(["insert", "insert, told", "edit", "delete", "past"]), minutes),
    st.tuples(st.sampled_from(["work", "shuffle", "plan"]), st.integers(1, 4)),
    st.tuples(
        st.sampled_from(["recompute", "backfill", "backfill again", "lose frame", "lose record"]), minutes
    ),
    st.tuples(st.sampled_from(["go on", "version", "look"]), st.just(0)),
)


class History:
    """What happens, one after the other."""

    def __init__(self) -> None:
        for table in (
            "weather_measured",
            "kck_frame",
            "kck_record",
            "kck_refresh",
            "kck_cursor",
            "kck_pending",
        ):
            with connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM {table}")
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM kck_family WHERE key_base LIKE 'fc_law%%'")
        self.latest = 0
        measure(0, 1, 10, 30, 50)

    def happen(self, what: str, n: int) -> None:
        if "insert" in what:
            n %= self.latest * 60 + 1  # up to there the stream is complete: what comes is late
        at = START + n * MINUTE
        do: dict[str, Callable[[], Any]] = {
            "insert": lambda: measure(n, value=n + 1),  # the comparison with the stream finds it
            "insert, told": lambda: self.change(at, n, lambda: measure(n, value=2)),
            "edit": lambda: self.change_one(n, lambda row: Measured.objects.filter(pk=row).update(value=7)),
            "delete": lambda: self.change_one(n, lambda row: Measured.objects.filter(pk=row).delete()),
            "past": lambda: self.change(
                PAST + n % 120 * MINUTE, n, lambda: measure(n % 120, start=PAST, value=5)
            ),
            "work": lambda: run_worker(NAMES, most=n),
            "shuffle": self.shuffle,
            "plan": lambda: frames.plan(NAMES[n % 3]),
            "recompute": lambda: frames.recompute("fc_law", at, at + HOUR),
            "backfill": lambda: self.backfill(n, again=False),
            "backfill again": lambda: self.backfill(n, again=True),
            "lose frame": lambda: Frame.objects.filter(start_at=at - n % 20 * MINUTE).delete(),
            "lose record": lambda: Record.objects.filter(start_at=at - n % 20 * MINUTE).delete(),
            "go on": self.go_on,
            "version": self.raise_version,
            "look": self.look,
        }
        do[what]()

    def change(self, at: Any, n: int, write: Callable[[], Any]) -> None:
        """Write something, and tell of it: afterwards, or in one transaction with it."""
        with transaction.atomic() if n % 2 else nullcontext():
            write()
            frames.tell("fc_law", at, at + MINUTE)

    def change_one(self, n: int, write: Callable[[int], Any]) -> None:
        # Never the first, from which on there are frames, nor the last, up to which the stream is complete.
        rows = Measured.objects.exclude(at__gte=START + self.latest * HOUR).exclude(at__lte=START + MINUTE)
        among = list(rows.order_by("at").values_list("pk", flat=True))
        if among:
            row = among[n % len(among)]
            self.change(self.instant(row), n, lambda: write(row))

    def instant(self, row: int) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM at - %s)::int FROM weather_measured WHERE id = %s", [START, row]
            )
            return START + timedelta(seconds=cursor.fetchone()[0])

    def shuffle(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE kck_refresh SET due_at = due_at - random() * interval '1 hour' WHERE key LIKE 'fc_law%%'"
            )

    def backfill(self, n: int, *, again: bool) -> None:
        name, start = NAMES[n % 3], PAST + (n % 3) * HOUR
        for one in frames.backfill(name, start, start + 2 * HOUR, again=again):
            assert one.outcome != "failed", one.error

    def go_on(self) -> None:
        if self.latest < HOURS:
            self.latest += 1
            measure(self.latest * 60)

    def raise_version(self) -> None:
        for name in NAMES:
            registry.primers[name].version += 1

    def settle(self) -> None:
        """Do all that is to be done."""
        for _ in range(20):
            found = [frames.plan(name) for name in NAMES]
            ran = run_worker(NAMES)
            if not len(ran) and not any(one.planned or one.again for one in found):
                return
        raise AssertionError("it never ends")

    def look(self) -> None:
        """Settle, and fail unless each window that is over is one closed frame, equal to the recount."""
        self.settle()
        rows = [(self.instant(pk), value) for pk, value in Measured.objects.values_list("pk", "value")]
        values = dict(Record.objects.order_by("revision").values_list("key", "value"))
        known = {}
        for frame in Frame.objects.all():
            primer = registry.primers[frame.key_base]
            start, end = primer.bounds(registry.key(frame.key))
            known[frame.key] = start
            inside = [value for at, value in rows if start <= at < end]
            assert (frame.state, frame.complete, frame.key, values[frame.key]) == (
                "closed", True, frame.key, {"n": len(inside), "sum": sum(inside)},
            )  # fmt: skip
        for name in NAMES:
            for size in registry.primers[name].sizes:
                expected = registry.primers[name].whole(size, START, START + self.latest * HOUR)
                there = [
                    key
                    for key, start in known.items()
                    if start >= START
                    and key.startswith(f"{name}/")
                    and (not size or key.startswith(f"{name}/{size}/"))
                ]
                assert len(there) == expected, (name, size)


@pytest.mark.once("oldest")
@pytest.mark.slow
@settings(
    max_examples=6,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(steps, min_size=6, max_size=18))
def test_each_closed_frame_is_what_a_recount_tells_law_7(transactional_db: None, history: list[Any]) -> None:
    with registered(Sizes, Pairs, Sliding):
        done = History()
        done.go_on()
        done.settle()  # from here on, what comes is late
        for what, n in history:
            done.happen(what, n)
        done.go_on()
        done.look()
