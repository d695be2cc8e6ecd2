"""The suite that streams must pass sees what is wrong with one. Row 137."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from kck_flow import Stream
from kck_flow.testing.streams import StreamConformance


class Listed(Stream):
    """A stream of somebody else's: (instant, number, mark), in a list."""

    name = "listed"

    def __init__(self) -> None:
        self.rows: list[tuple[datetime, int, str]] = []
        self.number = 0

    def add(self, at: datetime, mark: str) -> None:
        self.number += 1
        self.rows.append((at, self.number, mark))

    def drop(self, mark: str) -> None:
        self.rows = [row for row in self.rows if row[2] != mark]

    def earliest(self) -> datetime | None:
        return min((row[0] for row in self.rows), default=None)

    def latest(self) -> datetime | None:
        return max((row[0] for row in self.rows), default=None)

    def within(self, start: datetime, end: datetime) -> list[tuple[datetime, int, str]]:
        return sorted(row for row in self.rows if start <= row[0] < end)

    def read(
        self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None
    ) -> Iterable[tuple[Any, str]]:
        rows = [row for row in self.within(start, end) if after is None or row[:2] > after]
        return [(row[:2], row[2]) for row in rows[:limit]]

    def delete_before(self, cutoff: datetime) -> int:
        gone = [row for row in self.rows if row[0] < cutoff]
        self.rows = [row for row in self.rows if row[0] >= cutoff]
        return len(gone)


class TestListed(StreamConformance):
    made: type[Listed] = Listed

    def empty(self) -> Stream:
        return self.made()

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        stream.add(at, mark)

    def mark_of(self, item: Any) -> str:
        return item

    def remove(self, stream: Any, mark: str) -> None:
        stream.drop(mark)


class Nameless(Listed):
    name = ""


class WithItsEnd(Listed):
    def within(self, start: datetime, end: datetime) -> Any:
        return sorted(row for row in self.rows if start <= row[0] <= end)


class WithoutItsStart(Listed):
    def within(self, start: datetime, end: datetime) -> Any:
        return sorted(row for row in self.rows if start < row[0] < end)


class ToTheMillisecond(Listed):
    def within(self, start: datetime, end: datetime) -> Any:
        def cut(at: datetime) -> datetime:
            return at.replace(microsecond=at.microsecond // 1000 * 1000)

        return sorted(row for row in self.rows if cut(start) <= cut(row[0]) < cut(end))


class InTheOrderOfArrival(Listed):
    def within(self, start: datetime, end: datetime) -> Any:
        return [row for row in self.rows if start <= row[0] < end]


class InAnyOrder(Listed):
    def within(self, start: datetime, end: datetime) -> Any:
        rows = super().within(start, end)
        random.shuffle(rows)
        return sorted(rows, key=lambda row: row[0])


class ByItsInstantAlone(Listed):
    """Goes on behind all items of an instant."""

    def read(self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None) -> Any:
        rows = [row for row in self.within(start, end) if after is None or row[0] > after[0]]
        return [(row[:2], row[2]) for row in rows[:limit]]


class FromItsInstantOn(Listed):
    """Goes on with the items of the instant that it has had."""

    def read(self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None) -> Any:
        rows = [row for row in self.within(start, end) if after is None or row[0] >= after[0]]
        return [(row[:2], row[2]) for row in rows[:limit]]


class ByOffset(Listed):
    def read(self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None) -> Any:
        rows = self.within(start, end)
        begin = after if after is not None else 0
        until = None if limit is None else begin + limit
        return [(begin + place + 1, row[2]) for place, row in enumerate(rows[begin:until])]


class WithoutALimit(Listed):
    def read(self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None) -> Any:
        return super().read(start, end, after=after)


class FromThePlaceOn(Listed):
    """Takes the place for the beginning of the interval."""

    def read(self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None) -> Any:
        return super().read(start if after is None else after[0], end, after=after, limit=limit)


class Once(Listed):
    """Cannot be read again."""

    def read(self, start: datetime, end: datetime, **options: Any) -> Any:
        found = list(super().read(start, end, **options))
        for _, mark in found:
            self.drop(mark)
        return found


class Naive(Listed):
    def latest(self) -> Any:
        found = super().latest()
        return found.replace(tzinfo=None) if found is not None else None


class EndsSwapped(Listed):
    def earliest(self) -> datetime | None:
        return super().latest()


class Miscounting(Listed):
    def count(self, start: datetime, end: datetime) -> int:
        return len([row for row in self.rows if start <= row[0] <= end])


class CountingTooMuchBefore(Listed):
    def count_before(self, cutoff: datetime) -> int:
        return len([row for row in self.rows if row[0] <= cutoff])


class AheadOfNow(Listed):
    def watermark(self) -> Any:
        return datetime.now().astimezone() + timedelta(days=1)


class DeletingTooMuch(Listed):
    def delete_before(self, cutoff: datetime) -> int:
        return super().delete_before(cutoff + timedelta(microseconds=1))


class DeletingInSilence(Listed):
    def delete_before(self, cutoff: datetime) -> Any:
        super().delete_before(cutoff)


class StepsTooFar(Listed):
    def cuts_before(self, cutoff: datetime) -> Any:
        yield cutoff + timedelta(seconds=1)


class StepsTooShort(Listed):
    def cuts_before(self, cutoff: datetime) -> Any:
        yield cutoff - timedelta(microseconds=2)


class GapsOutside(Listed):
    def gaps(self, start: datetime, end: datetime) -> Any:
        return [(start - timedelta(seconds=1), end)]


class NeverEmpty(Listed):
    def is_empty(self) -> bool:
        return False


class ByTheClockOnTheWall(Listed):
    def within(self, start: datetime, end: datetime) -> Any:
        begin, until = (at.replace(tzinfo=None) for at in (start, end))
        return sorted(row for row in self.rows if begin <= row[0].replace(tzinfo=None) < until)


class Narrower(Listed):
    def narrowed(self, params: Any) -> Any:
        return Listed()


WRONG = [one for one in Listed.__subclasses__() if one.__module__ == __name__]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one.__name__)
def test_what_is_wrong_with_a_stream_is_seen(wrong: type[Listed]) -> None:
    suite = TestListed()
    suite.made = wrong
    failed = []
    for name in dir(suite):
        if name.startswith("test_"):
            law: Callable[[], None] = getattr(suite, name)
            try:
                law()
            except Exception:
                failed.append(name)
    assert failed, f"{wrong.__name__} passes"


def test_a_stream_that_does_not_delete_says_so() -> None:
    class Kept(Listed):
        delete_before = Stream.delete_before  # type: ignore[assignment]

    suite = TestListed()
    suite.made = Kept
    with pytest.raises(NotImplementedError, match="listed does not delete"):
        suite.test_what_is_deleted_lies_before_the_cutoff()
    suite.deletes = False
    suite.test_what_is_deleted_lies_before_the_cutoff()
    suite.test_it_is_deleted_step_by_step()
    suite.made = Listed
    with pytest.raises(AssertionError, match="deletes = False, and delete_before deletes"):
        suite.test_what_is_deleted_lies_before_the_cutoff()


def test_a_hook_that_is_missing_is_told() -> None:
    class Bare(StreamConformance):
        pass

    for hook, given in (
        ("empty", ()),
        ("put", (None, None, "")),
        ("mark_of", (None,)),
        ("remove", (None, "")),
    ):
        with pytest.raises(NotImplementedError, match=f"Bare has no {hook}"):
            getattr(Bare(), hook)(*given)
