"""What a stream must do, as tests: for streams of your own, and for those that come with the package.

::

    @pytest.mark.django_db
    class TestReadings(StreamConformance):
        def empty(self):
            return ReadingStream()

        def put(self, stream, at, mark):
            Reading.objects.create(taken_at=at, text=mark)

        def mark_of(self, item):
            return item.text

        def remove(self, stream, mark):
            Reading.objects.filter(text=mark).delete()
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from .. import clock
from ..stream import Stream


class StreamConformance:
    """Base of a test class. Each test begins with an empty stream and puts a few items into it, by the hooks below.

    Attributes:
        first: The instant from which on the tests put items.
        resolution: How near two instants can be that the stream tells apart.
        deletes: Whether it has ``delete_before``.
        changes: Whether items may come and go while it is read: then ``remove`` is needed, too.
    """

    first: datetime = datetime(2026, 1, 31, 23, 59, 59, 999_990, tzinfo=UTC)
    resolution: timedelta = timedelta(microseconds=1)
    deletes: bool = True
    changes: bool = True

    # -- the hooks
    # -----------------------------------------------------------------------------------------------------

    def empty(self) -> Stream:
        """Return a stream that is empty."""
        raise NotImplementedError(f"{type(self).__name__} has no empty(): it returns the stream to test.")

    def put(self, stream: Stream, at: datetime, mark: str) -> None:
        """Put an item with an instant into the stream. ``mark`` is what ``mark_of`` has to tell of it."""
        raise NotImplementedError(f"{type(self).__name__} has no put(): it puts an item into the stream.")

    def mark_of(self, item: Any) -> str:
        """Return the mark of an item that was read."""
        raise NotImplementedError(f"{type(self).__name__} has no mark_of(): it tells items apart.")

    def remove(self, stream: Stream, mark: str) -> None:
        """Take an item out of the stream."""
        raise NotImplementedError(f"{type(self).__name__} has no remove(); without one, say changes = False.")

    # -- what they share
    # -----------------------------------------------------------------------------------------------

    def at(self, number: int) -> datetime:
        """Return one of the instants at which items are put, the first is 0."""
        return self.first + number * self.resolution

    def filled(self, numbers: Sequence[int]) -> Stream:
        """Return a stream with an item at each of some instants; its mark tells which, and its place among equals."""
        stream = self.empty()
        # Not in their order: a stream has its own.
        for place in sorted(range(len(numbers)), key=lambda place: (place * 7919 + 3) % 10_007):
            self.put(stream, self.at(numbers[place]), f"{numbers[place]:03}.{place:03}")
        return stream

    def marks(self, stream: Stream, start: int, end: int, **options: Any) -> list[str]:
        """Return the marks of what is read between two instants."""
        return [self.mark_of(item) for _, item in stream.read(self.at(start), self.at(end), **options)]

    def by_pages(self, stream: Stream, start: int, end: int, size: int) -> list[str]:
        """Return the marks of what is read page by page."""
        found: list[str] = []
        after = None
        while True:
            page = list(stream.read(self.at(start), self.at(end), after=after, limit=size))
            assert len(page) <= size, f"{len(page)} items were read with limit={size}"
            if not page:
                return found
            found += [self.mark_of(item) for _, item in page]
            after = page[-1][0]
            assert len(found) < 10_000, "the pages have no end: after= does not go on"

    # -- the laws
    # ------------------------------------------------------------------------------------------------------

    def test_it_has_a_name(self) -> None:
        assert self.empty().name, "a stream has a name: commands and cursors know it by that"

    def test_an_empty_stream_is_empty(self) -> None:
        stream = self.empty()
        assert stream.is_empty(), "is_empty() of an empty stream is True"
        assert stream.earliest() is None, "the earliest instant of an empty stream is None"
        assert stream.latest() is None, "the latest instant of an empty stream is None"
        assert list(stream.read(self.at(0), self.at(100))) == [], "nothing is read of an empty stream"
        assert stream.count(self.at(0), self.at(100)) == 0, "an empty stream counts 0"
        assert stream.count_before(self.at(100)) == 0, "there is nothing before anything in an empty stream"

    def test_its_ends_are_the_instants_of_the_first_and_the_last_item(self) -> None:
        stream = self.filled([5, 3, 11, 3, 9])
        assert not stream.is_empty(), "is_empty() of a stream with items is False"
        for found, number, which in ((stream.earliest(), 3, "earliest"), (stream.latest(), 11, "latest")):
            assert found is not None, f"{which}() is None"
            assert found.utcoffset() is not None, f"{which}() is naive"
            assert found == self.at(number), f"{which}() is {found}, not {self.at(number)}"

    def test_items_come_in_the_order_of_their_instants(self) -> None:
        stream = self.filled([4, 1, 8, 2, 1, 7, 4, 0])
        numbers = [int(mark[:3]) for mark in self.marks(stream, 0, 100)]
        assert numbers == [0, 1, 1, 2, 4, 4, 7, 8], f"items come in the order {numbers}"

    def test_an_interval_has_its_start_and_not_its_end(self) -> None:
        stream = self.filled([1, 2, 3, 4])
        for start in range(6):
            for end in range(start, 6):
                numbers = [int(mark[:3]) for mark in self.marks(stream, start, end)]
                expected = [number for number in (1, 2, 3, 4) if start <= number < end]
                assert numbers == expected, f"[{start}, {end}) has the items {numbers}, not {expected}"

    def test_adjoining_intervals_have_each_item_once(self) -> None:
        stream = self.filled([*range(12), 3, 3, 6])
        whole = self.marks(stream, 0, 12)
        for size in (1, 2, 3, 5):
            parts = [
                mark
                for start in range(0, 12, size)
                for mark in self.marks(stream, start, min(start + size, 12))
            ]
            assert parts == whole, f"intervals of {size} have {parts}, all in one {whole}"

    def test_an_interval_is_the_same_in_any_zone(self) -> None:
        stream = self.filled([1, 2, 3])
        for hours in (-11, 5, 14):
            zone = timezone(timedelta(hours=hours))
            start, end = (self.at(number).astimezone(zone) for number in (1, 3))
            found = [self.mark_of(item)[:3] for _, item in stream.read(start, end)]
            assert found == ["001", "002"], f"told in UTC{hours:+}, [1, 3) has the items {found}"
            assert stream.count(start, end) == 2, f"told in UTC{hours:+}, [1, 3) counts other than 2"

    def test_reading_again_reads_the_same(self) -> None:
        stream = self.filled([1, 1, 1, 2, 2, 5, 5, 5, 5])
        once = self.marks(stream, 0, 100)
        assert self.marks(stream, 0, 100) == once, "read again, the items come in another order"
        assert len(set(once)) == 9, f"of 9 items, {sorted(set(once))} were read"

    def test_pages_leave_out_nothing_and_bring_nothing_twice(self) -> None:
        stream = self.filled([*range(10), 4, 4, 4, 4, 4, 9, 9])
        whole = self.marks(stream, 0, 100)
        for size in (1, 2, 3, 4, 5, 17, 100):
            paged = self.by_pages(stream, 0, 100, size)
            assert paged == whole, f"pages of {size} have {paged}, all in one {whole}"

    def test_reading_goes_on_behind_any_place(self) -> None:
        stream = self.filled([1, 2, 2, 2, 2, 3, 3, 5])
        read = [(place, self.mark_of(item)) for place, item in stream.read(self.at(0), self.at(100))]
        for number, (place, _) in enumerate(read):
            rest = self.marks(stream, 0, 100, after=place)
            expected = [mark for _, mark in read[number + 1 :]]
            assert rest == expected, f"behind item {number} come {rest}, not {expected}"

    def test_a_place_does_not_widen_the_interval(self) -> None:
        stream = self.filled([1, 2, 3, 4, 5])
        [(place, _)] = stream.read(self.at(1), self.at(2))
        found = [mark[:3] for mark in self.marks(stream, 3, 5, after=place)]
        assert found == ["003", "004"], f"behind item 1, [3, 5) has the items {found}"

    def test_a_limit_is_how_many_come_at_most(self) -> None:
        stream = self.filled([1, 2, 3])
        whole = self.marks(stream, 0, 100)
        for limit in range(5):
            found = self.marks(stream, 0, 100, limit=limit)
            assert found == whole[:limit], f"with limit={limit} come {found}"

    def test_it_counts_what_it_reads(self) -> None:
        stream = self.filled([0, 1, 1, 2, 5, 8, 8, 8, 9])
        for start, end in ((0, 100), (1, 2), (2, 9), (3, 5), (8, 8), (8, 9), (9, 100)):
            read, counted = len(self.marks(stream, start, end)), stream.count(self.at(start), self.at(end))
            assert counted == read, f"[{start}, {end}) counts {counted} items, and has {read}"

    def test_it_counts_what_lies_before_an_instant(self) -> None:
        stream = self.filled([1, 2, 2, 3])
        for number, expected in ((0, 0), (1, 0), (2, 1), (3, 3), (4, 4), (100, 4)):
            found = stream.count_before(self.at(number))
            assert found == expected, f"before {number} there are {found} items, not {expected}"

    def test_it_is_never_complete_beyond_now(self) -> None:
        stream = self.filled([1, 2])
        found = stream.watermark()
        assert found is None or found.utcoffset() is not None, "the watermark is naive"
        assert found is None or found <= clock.now(), f"the watermark {found} lies in the future"
        self.empty().watermark()  # which an empty stream may have, or not

    def test_its_gaps_lie_in_the_interval_and_in_order(self) -> None:
        stream = self.filled([1, 2, 3])
        found = list(stream.gaps(self.at(1), self.at(3)))
        for start, end in found:
            assert self.at(1) <= start < end <= self.at(3), f"the gap {start} to {end} is not in the interval"
        assert found == sorted(found), "the gaps are not in order"

    def test_a_product_without_parameters_has_all_of_it(self) -> None:
        stream = self.filled([1, 2, 3])
        assert self.marks(stream.narrowed({}), 0, 100) == self.marks(stream, 0, 100), (
            "narrowed({}) is not the whole stream"
        )

    def test_what_is_deleted_lies_before_the_cutoff(self) -> None:
        stream = self.filled([1, 2, 2, 3, 4])
        if not self.deletes:
            try:
                stream.delete_before(self.at(3))
            except NotImplementedError:
                assert len(self.marks(stream, 0, 100)) == 5, "what does not delete has deleted"
                return
            raise AssertionError("deletes = False, and delete_before deletes")
        wanted = stream.count_before(self.at(3))
        gone = stream.delete_before(self.at(3))
        assert gone == wanted == 3, (
            f"delete_before tells {gone}, count_before told {wanted}; there were 3 items"
        )
        left = [int(mark[:3]) for mark in self.marks(stream, 0, 100)]
        assert left == [3, 4], f"of 1, 2, 2, 3 and 4, deleted before 3, there is {left}"
        assert stream.earliest() == self.at(3), "earliest() does not know what was deleted"
        assert stream.delete_before(self.at(3)) == 0, "deleted again, there was something left"

    def test_it_is_deleted_step_by_step(self) -> None:
        if not self.deletes:
            return
        stream = self.filled([1, 2, 2, 3, 3, 4])
        gone, cuts = 0, []
        for cut in stream.cuts_before(self.at(4)):
            cuts.append(cut)
            gone += stream.delete_before(cut)
        assert cuts == sorted(set(cuts)), f"the steps are not in order: {cuts}"
        assert cuts[-1] == self.at(4), f"the last step is {cuts[-1]}, not the cutoff"
        assert gone == 5, f"step by step, {gone} of 5 items were deleted"

    def test_what_comes_while_it_is_read_moves_nothing(self) -> None:
        if not self.changes:
            return
        stream = self.filled([10, 20, 20, 20, 30, 40])
        whole = self.marks(stream, 0, 100)
        found, after = [], None
        for number in range(20):
            page = list(stream.read(self.at(0), self.at(100), after=after, limit=1))
            if not page:
                break
            [(after, item)] = page
            found.append(self.mark_of(item))
            self.put(stream, self.at(number), f"{number:03}.new")  # behind us, or before
        old = [mark for mark in found if mark in whole]
        assert old == whole, f"while items came, {old} of {whole} were read"
        assert len(found) == len(set(found)), f"while items came, some were read twice: {found}"
        ahead = [mark for mark in self.marks(stream, 41, 100) if mark not in whole]
        assert not ahead, f"items before 41 are read behind it: {ahead}"

    def test_what_goes_while_it_is_read_moves_nothing(self) -> None:
        if not self.changes:
            return
        stream = self.filled([*range(10), 5, 5, 5])
        whole = self.marks(stream, 0, 100)
        read, after = [], None
        while page := list(stream.read(self.at(0), self.at(100), after=after, limit=2)):
            read += [self.mark_of(item) for _, item in page]
            after = page[-1][0]
            self.remove(stream, read[-1])  # the very one behind which we go on
            self.remove(stream, read[0]) if len(read) == 2 else None
        assert read == whole, f"while items went, {read} of {whole} were read"
