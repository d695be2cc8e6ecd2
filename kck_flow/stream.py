"""Stream: an ordered source of data, read by time.

A stream knows nothing of who reads it. What has been read of it, and what may be deleted, is kept with its readers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any


class Stream(ABC):
    """An ordered source of items, each with an instant.

    Every interval is half-open, ``[start, end)``; instants are aware. Items come ordered by their instant, and items of
    one instant in an order that is always the same. ``kck_flow.testing.streams.StreamConformance`` tests a stream of
    your own.
    """

    # What it is called: in the commands, and where what has been read of it is kept.
    name: str = ""

    @property
    def database(self) -> str | None:
        """The alias of the database that it is in; None where it is in none of the project's."""
        return None

    # Whether its watermark stands still while nothing comes: a time frame's ``quiet`` is for such streams.
    stands_still: bool = True

    @property
    def origin(self) -> Hashable:
        """What tells where its data lies: what is deleted of a stream, others of the same origin lose, too."""
        return self.name

    @property
    def deletes(self) -> bool:
        """Whether its items may be deleted: ``delete_before`` is there."""
        return type(self).delete_before is not Stream.delete_before

    def is_empty(self) -> bool:
        """Return whether there is no item at all."""
        return self.earliest() is None

    @abstractmethod
    def earliest(self) -> datetime | None:
        """Return the instant of the first item; None where there is none."""

    @abstractmethod
    def latest(self) -> datetime | None:
        """Return the instant of the last item; None where there is none."""

    @abstractmethod
    def read(
        self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None
    ) -> Iterable[tuple[Any, Any]]:
        """Yield (place, item) of the items in ``[start, end)``, in order.

        Args:
            after: The place of the item after which to go on; None from the first on. A place is whatever the stream
                gave with an item.
            limit: How many items at most; None for all.

        Raises:
            Exception: some of it cannot be read. It never leaves an item out without a word.
        """

    def watermark(self) -> datetime | None:
        """Return the instant up to which the stream is complete, as far as it can know; None where it cannot.

        Where not overridden, the instant of the last item.
        """
        return self.latest()

    def count(self, start: datetime, end: datetime) -> int:
        """Return how many items are in ``[start, end)``."""
        return sum(1 for _ in self.read(start, end))

    def count_before(self, cutoff: datetime) -> int:
        """Return how many items lie before ``cutoff``: what ``delete_before`` would delete."""
        earliest = self.earliest()
        return self.count(earliest, cutoff) if earliest is not None and earliest < cutoff else 0

    def delete_before(self, cutoff: datetime) -> int:
        """Delete the items before ``cutoff``; returns how many.

        Raises:
            NotImplementedError: the source is not ours to delete from.
        """
        raise NotImplementedError(
            f"{self.name or type(self).__name__} does not delete: it has no delete_before."
        )

    def cuts_before(self, cutoff: datetime) -> Iterator[datetime]:
        """Yield instants, one after the other, up to ``cutoff``: the steps in which it is best deleted. What lies
        before the one that was yielded is deleted before the next is asked for.
        """
        yield cutoff

    def gaps(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, datetime]]:
        """Return the intervals of ``[start, end)`` of which the source knows that data is missing."""
        return ()

    def narrowed(self, params: Mapping[str, Any]) -> Stream:
        """Return the part of the stream that belongs to a product with these parameters; itself where there are none.

        Raises:
            NotImplementedError: this stream cannot be split.
        """
        if not params:
            return self
        raise NotImplementedError(
            f"{self.name or type(self).__name__} cannot be split by {', '.join(params)}: it has no narrowed()."
        )
