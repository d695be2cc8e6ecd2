"""TimeFrame: a product for each window of a stream, computed once the window is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from . import key as keys
from .definition import column_of
from .errors import DeclarationError
from .key import Key
from .primer import is_duration, is_whole
from .stream import Stream
from .windowed import Windowed
from .windows import Window, as_window

# A page of a stream: so many items are in memory at a time.
PAGE = 5000
_SECONDS = {"hour": 3600, "day": 86_400, "week": 604_800}
# Instants at which the windows of two sizes are compared: over two years, with their changes of the clock, and at any
# minute of an hour.
_LOOKS = 400
_LOOK_FROM, _LOOK_STEP = datetime(2024, 1, 15, tzinfo=UTC), timedelta(days=2, hours=5, minutes=7, seconds=19)
LATE = ("revise", "count")


@dataclass(frozen=True, slots=True)
class Part:
    """A finer frame that a coarser one is merged from: what it held over ``[start, end)``.

    Attributes:
        complete: Whether its source had all of it.
    """

    start: datetime
    end: datetime
    value: Any
    complete: bool


class Items:
    """The items of a window, in their order: as often as they are wanted, a page of them in memory at a time.

    Its length is the stream's own count; where it is only walked, nothing is counted.
    """

    def __init__(self, stream: Stream, start: datetime, end: datetime, page: int = PAGE) -> None:
        self.stream, self.start, self.end, self._page = stream, start, end, page
        self._counted: int | None = None

    def __iter__(self) -> Iterator[Any]:
        after, walked = None, 0
        while True:
            got = 0
            for place, item in self.stream.read(self.start, self.end, after=after, limit=self._page):
                after, got = place, got + 1
                yield item
            walked += got
            if got < self._page:
                break
        self._counted = walked

    def __len__(self) -> int:
        if self._counted is None:
            self._counted = self.stream.count(self.start, self.end)
        return self._counted

    def __repr__(self) -> str:
        return f"Items({self.stream.name!r}, {self.start.isoformat()}, {self.end.isoformat()})"


class TimeFrame(Windowed):
    """A product for each window of a stream: planned by itself, computed once the window is complete, then kept as a
    record.

    ``cache.get("weather/JFK/2026-01-31T10")`` is one frame, ``cache.series("weather/JFK", start, end)`` many.

    Attributes:
        stream: Where the items come from: a ``Stream``, or a method that returns one. With parameters (and a
            ``domain``) each product gets the stream's part of its own, ``stream.narrowed(params)``.
        duration: How long a window is, of one size: a timedelta, ``"hour" "day" "week" "month"``, or short, ``"15s"``.
        windows: Several sizes by name, the finest first. The finest that divides a coarser one is what that is merged
            from: the items are read once.
        tz: Zone in which days, weeks and months begin; the project's ``TIME_ZONE`` where not given.
        hop: How often a window of ``duration`` begins, where they overlap, as in ``duration = timedelta(days=7)`` and
            ``hop = "day"``. None: as one ends, the next begins.
        lateness: How long after its end a window waits for items that come late.
        late: What is done about items that come later than that: ``"revise"`` computes the frame again, as another
            revision; ``"count"`` only counts them.
        corrections: For how long after its end a closed frame is compared with its stream, which may not tell that
            something came late; where not given, ten times ``lateness``, and one window at least. Zero: never.
        quiet: A stream that has been without an item for so long is taken to be complete up to so long ago. None:
            it is complete up to what its watermark says, and no further.
        epoch: From when on there are frames: where not given, from the window of the first item that was there when
            they were first planned.
        until: Up to when; None for ever.
        merges: Another time frame (the class or its key base) of the same parameters, from whose frames these are
            merged; the stream is not read.
        record_model: A ``FrameRecord`` subclass whose columns a frame fills; ``compute`` returns them as a dict, or an
            unsaved instance. None: the value is kept as JSON.
        max_pending: How many frames of the family wait in the queue at a time, at most.
    """

    stream: Any = None
    duration: str | timedelta | None = None
    hop: str | timedelta | None = None
    lateness: timedelta = timedelta(0)
    late: Literal["revise", "count"] = "revise"
    corrections: timedelta | None = None
    quiet: timedelta | None = timedelta(minutes=10)
    epoch: datetime | None = None
    until: datetime | None = None
    merges: type[TimeFrame] | str | None = None
    record_model: Any = None
    max_pending: int = 100

    def __init__(self) -> None:
        super().__init__()
        if not self.sizes:
            raise DeclarationError(
                "it has no size of window: give duration, as in duration = 'hour', or windows = ['1m', '1h']."
            )
        # How many hops a window is long.
        self.hops = self._hops()
        # Of each size but the finest: the next finer that divides it. None: computed from the items, or from another
        # family.
        names = list(self.sizes)
        self.finer: dict[str, str | None] = {
            name: next(
                (fine for fine in reversed(names[:place]) if divides(self.sizes[fine], self.sizes[name])),
                None,
            )
            for place, name in enumerate(names)
        }
        for name in ("lateness", "quiet", "corrections"):
            value = getattr(self, name)
            if not (is_duration(value) or (value is None and name != "lateness")):
                raise DeclarationError(f"{name} is a timedelta of zero or more, not {value!r}.")
        if self.late not in LATE:
            raise DeclarationError(f"late is one of {', '.join(LATE)}, not {self.late!r}.")
        for name in ("epoch", "until"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
                raise DeclarationError(f"{name} is an aware datetime, not {value!r}.")
        if not is_whole(self.max_pending, 1, 1_000_000):
            raise DeclarationError(f"max_pending is a number of frames, not {self.max_pending!r}.")

    def one_size(self) -> str | timedelta | None:
        return self.hop if self.hop is not None else self.duration

    def _hops(self) -> int:
        if self.hop is None:
            return 1
        if self.duration is None:
            raise DeclarationError(
                "hop says how often a window of a duration begins: give the duration, too."
            )
        hop, whole = as_window(self.hop, self.tz), as_window(self.duration, self.tz)
        step, length = _seconds(hop), _seconds(whole)
        if step is None or length is None or length < step or length % step:
            raise DeclarationError(
                f"duration ({self.duration!r}) is not a whole number of hops ({self.hop!r})."
            )
        return int(length // step)

    # -- what a declaration defines

    def compute(self, key: Key, items: Items) -> Any:  # type: ignore[override]
        """Return the value of one window from its items. What it writes to the same database commits with the frame, or
        vanishes with it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define compute(self, key, items).")

    def merge(self, key: Key, parts: Sequence[Part]) -> Any:
        """Return the value of one window from the finer frames in it, oldest first. Those that were skipped are not
        among them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define merge(self, key, parts).")

    def cleanup(self, key: Key, record: Any) -> None:
        """Called once the frame has committed; it is called again where it raised, and undoes nothing.

        Args:
            record: The row that holds the value: a ``kck_flow.models.Record``, or one of ``record_model``.
        """

    def needs_from(self, now: datetime) -> datetime | None:
        """Return from when on the stream is still needed; None where that is not known, and nothing may be deleted.

        Where not overridden: the beginning of the oldest frame that is neither closed nor skipped, less ``lateness``.
        """
        return TimeFrame.oldest_need(self, now)

    # Filled in by those who know the tables.
    oldest_need: ClassVar[Callable[[TimeFrame, datetime], datetime | None]]

    # -- what the rest of the package asks

    @property
    def cleans(self) -> bool:
        """Whether something is done after a frame has committed."""
        return type(self).cleanup is not TimeFrame.cleanup

    def stream_of(self, params: dict[str, Any]) -> Stream:
        """Return the stream of a product's own parameters. What a method raises, rises.

        Raises:
            DeclarationError: it is no stream.
        """
        return self.whole_stream().narrowed({column_of(one): params[one.name] for one in self.own_parameters})

    def whole_stream(self) -> Stream:
        """Return the stream of all its products. What a method raises, rises.

        Raises:
            DeclarationError: it is no stream.
        """
        found = self.stream
        if (isinstance(found, type) and issubclass(found, Stream)) or (
            callable(found) and not isinstance(found, Stream)
        ):
            found = found()
        if not isinstance(found, Stream):
            raise DeclarationError(f"{self.name!r}: stream is {found!r}, which is no Stream.")
        return found

    @property
    def merges_base(self) -> str | None:
        """The key base of the family these frames are merged from; None of those that a stream feeds."""
        if self.merges is None or isinstance(self.merges, str):
            return self.merges
        return self.merges.key_base or self.merges.key

    def end_of(self, size: str, start: datetime) -> datetime:
        """Return the end of the window that begins at ``start``."""
        window = self.sizes[size]
        if isinstance(window.size, timedelta):
            return start + window.size * self.hops
        for _ in range(self.hops):
            start = window.after(start)
        return start

    def bounds(self, key: Key) -> tuple[datetime, datetime]:
        start, _ = super().bounds(key)
        return start, self.end_of(key.params.get("size", ""), start)

    def longest(self) -> timedelta:
        """Return about how long the longest of its windows is."""
        return max(self.length(size) for size in self.sizes)

    def looks_back(self) -> timedelta:
        """Return for how long closed frames are compared with their stream."""
        if self.corrections is not None:
            return self.corrections
        return max(self.lateness * 10, self.length(next(iter(self.sizes))))

    def length(self, size: str) -> timedelta:
        """Return about how long the windows of a size are."""
        start = self.sizes[size].start_of(_LOOK_FROM)
        return self.end_of(size, start) - start

    def whole(self, size: str, first: datetime, last: datetime) -> int:
        """Return how many windows of a size lie in ``[first, last)`` whole; ``first`` is where one begins."""
        step = self.sizes[size].step(first, last)
        if step is not None:
            return max((last - first - step * self.hops) // step + 1, 0)
        return sum(1 for _ in self.walk(size, first, last))

    def walk(self, size: str, first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield (start, end) of those windows, in order."""
        window, start = self.sizes[size], first
        while (end := self.end_of(size, start)) <= last:
            yield start, end
            start = window.after(start)

    def products(self) -> list[dict[str, Any]]:
        """Return the own parameters of each product in the domain; of a primer without any, the one empty dict.

        Raises:
            InvalidKey: the domain has what are no parameters.
        """
        if not self.own_parameters:
            return [{}]
        listed = self.domain() if callable(self.domain) else self.domain
        if isinstance(listed, str):
            raise DeclarationError(
                f"{self.name!r}: domain is the key of a product: it is read by the planner."
            )
        return self.products_of([{}] if listed is None else listed)

    def products_of(self, listed: Iterable[Any]) -> list[dict[str, Any]]:
        """Return the own parameters that the things in a domain mean, each once."""
        names = [one.name for one in self.own_parameters]
        found: dict[Key, dict[str, Any]] = {}
        for one in listed:
            if isinstance(one, Mapping):
                given = dict(one)
            elif isinstance(one, (tuple, list)):
                given = dict(zip(names, one, strict=True))
            else:
                given = {names[0]: one}
            key = keys.build(self.name, self.own_parameters, given)
            found[key] = dict(key.params)
        return list(found.values())

    def domain_keys(self) -> list[Key]:
        """Return none: which of its products are there, the windows say. What is wrong in the domain, rises."""
        if not isinstance(self.domain, str):
            self.products()
        return []


def _seconds(window: Window) -> float | None:
    """Return how long windows are, by the clock on the wall; None where that differs."""
    if isinstance(window.size, timedelta):
        return window.size.total_seconds()
    return _SECONDS.get(window.size)


def _length(window: Window) -> timedelta:
    start = window.start_of(_LOOK_FROM)
    return window.after(start) - start


def aligned(fine: Window, coarse: Window) -> bool:
    """Whether each window of one size begins where one of another does."""
    if isinstance(fine.size, timedelta) and isinstance(coarse.size, timedelta):
        return coarse.size % fine.size == timedelta(0)
    at = _LOOK_FROM
    for _ in range(_LOOKS):
        start = coarse.start_of(at)
        if fine.start_of(start) != start:
            return False
        at += _LOOK_STEP
    return True


def divides(fine: Window, coarse: Window) -> bool:
    """Whether each window of one size is made of whole windows of a finer one."""
    return _length(fine) < _length(coarse) and aligned(fine, coarse)
