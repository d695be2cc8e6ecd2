"""What a frame is made of: the items of its window, or the finer frames in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.db import transaction

from ..errors import NotPrimed, UnstorableValue
from ..key import Key
from ..store import frames
from ..store.session import Session, caller
from ..storing import args_of, encode
from ..stream import Stream
from ..timeframe import Items, Part, TimeFrame
from . import horizon
from .compute import awaited
from .frame import enter


class Parts(Sequence[Part]):
    """The finer frames that one is merged from: as often as they are wanted, a page of them in memory at a time."""

    def __init__(
        self, session: Session, of: Key, start: datetime, end: datetime, primer: TimeFrame, count: int
    ) -> None:
        self._session, self._of, self._start, self._end = session, of, start, end
        self._primer, self._count = primer, count

    def __iter__(self) -> Iterator[Part]:
        model = self._primer.record_model
        for held in frames.series(
            self._session, self._of, self._start, self._end, self._primer.codec.decode, model
        ):
            if held.there:
                yield Part(held.start, held.end, held.value, held.complete)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place]


class Making:
    """One frame that is being made."""

    # Whether on the caller's connection, and not to be stored.
    inline = False

    def __init__(self, key: Key, primer: TimeFrame, alias: str) -> None:
        self.key, self.primer, self.alias = key, primer, alias
        self.args = args_of(primer, key)
        self.size = key.params.get("size", "")
        self.params = horizon.own_params(primer, key)
        self.start, self.end = primer.bounds(key)
        self.series = primer.series_key(self.params, self.size)

    def gone(self, session: Session, stream: Stream) -> str:
        """Return why it cannot be computed: its items were deleted. Empty: they are there."""
        deleted = horizon.deleted_before(session, stream)
        if deleted is None or self.start >= deleted:
            return ""
        return f"what {stream.name!r} had before {deleted:%Y-%m-%d %H:%M:%S} UTC was deleted"

    def computed(self, stream: Stream) -> tuple[Any, int, bool]:
        """Return (value, items, complete) of what ``compute`` makes of the items."""
        items = Items(stream, self.start, self.end)
        value = self.call(self.primer.compute, items)
        return value, len(items), not stream.gaps(self.start, self.end)

    def merged(self, session: Session, base: TimeFrame, size: str) -> tuple[Any, int, bool]:
        """Return (value, items, complete) of what ``merge`` makes of the finer frames that are there."""
        of = base.series_key(self.params, size)
        found = frames.summed(session, of, self.start, self.end, base.record_model)
        parts = Parts(session, of, self.start, self.end, base, found.count)
        value = self.call(self.primer.merge, parts)
        return value, found.items, found.complete and found.count >= self.whole(session, base, size)

    def whole(self, session: Session, base: TimeFrame, size: str) -> int:
        """Return of how many finer frames this one is made where it has all that the source had."""
        first = self.begins(session, base, size)
        if first > self.start:
            # Before the first item there was nothing; but what came there later on, or was filled in, counts.
            earliest = horizon.stream_of(base, self.params).earliest()
            known = frames.decided_starts(session, base.series_key(self.params, size), self.start, first)
            first = min([first, *known, *([base.sizes[size].start_of(earliest)] if earliest else [])])
        return self.parts_from(base, size, first)

    def begins(self, session: Session, base: TimeFrame, size: str) -> datetime:
        """Return from when on the finer frames of this one are there by themselves."""
        look = horizon.look(base, self.params, self.alias, session=session)
        if look.first is None or look.declared:
            return self.start
        return max(self.start, base.sizes[size].start_of(look.first))

    def parts_from(self, base: TimeFrame, size: str, first: datetime) -> int:
        """Return how many finer frames of this one begin at ``first`` or later."""
        first = max(first, self.start)
        return base.whole(size, first, self.end) if first < self.end else 0

    def call(self, method: Callable[..., Any], given: Any) -> Any:
        """Run ``compute`` or ``merge`` here, and return its result. Whatever it raises rises."""
        with enter(self.key, inline=self.inline, snapshot=True):
            value = method(self.key, given)
            if inspect.iscoroutine(value):
                value = async_to_sync(awaited)(value)
            return value

    def row(self, value: Any) -> Any:
        """Return the unsaved row of ``record_model`` that a value is. Raises UnstorableValue: it is none."""
        model = self.primer.record_model
        if isinstance(value, model):
            return value
        if isinstance(value, Mapping):
            try:
                return model(**value)
            except TypeError as error:
                raise UnstorableValue(f"{str(self.key)!r}: {error}.") from error
        raise UnstorableValue(
            f"{str(self.key)!r} is kept in {model._meta.label}: compute returns a dict of its columns, or an unsaved "
            f"{model.__name__}, not {value!r}."
        )


class Live(Making):
    """A frame made for one call only, as the caller's transaction sees things: nothing of it stays."""

    inline = True

    def make(self) -> tuple[Any, bool]:
        """Return (value, complete), what ``compute`` has written besides being undone. What it raises, rises.

        Raises:
            NotPrimed: its items were deleted.
        """
        with transaction.atomic(using=self.alias):
            session = caller(self.alias)
            finer = horizon.finer_of(self.primer, self.size)
            if finer is None:
                stream = self.primer.stream_of(self.params)
                gone = self.gone(session, stream)
                if gone:
                    raise NotPrimed(f"{str(self.key)!r} cannot be computed: {gone}.")
                value, _, complete = self.computed(stream)
            else:
                value, complete = self._of_parts(session, *finer)
            kept = self._as_kept(session, value)
            transaction.set_rollback(True, using=self.alias)
        return kept, complete

    def _of_parts(self, session: Session, base: TimeFrame, size: str) -> tuple[Any, bool]:
        of = base.series_key(self.params, size)
        held = {part.start: part for part in Parts(session, of, self.start, self.end, base, 0)}
        decided = frames.decided_starts(session, of, self.start, self.end)
        parts = list(held.values())
        for begins, ends in base.walk(size, self.begins(session, base, size), self.end):
            if begins not in decided:
                value, complete = Live(base.key_at(self.params, size, begins), base, self.alias).make()
                parts.append(Part(begins, ends, value, complete))
        parts.sort(key=lambda part: part.start)
        complete = all(part.complete for part in parts)
        value = self.call(self.primer.merge, parts)
        return value, complete and len(parts) >= self.whole(session, base, size)

    def _as_kept(self, session: Session, value: Any) -> Any:
        """Return a value as it is read once it is stored."""
        if self.primer.record_model is not None:
            return frames.tried(session, self.key, self.row(value), start=self.start, end=self.end)
        text, _ = encode(self.key, self.primer, self.primer.codec, value)
        return self.primer.codec.decode(text) if text is not None else None
