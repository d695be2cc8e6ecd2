"""What of a source may be deleted: what lies before all that is still needed of it, and nothing where that is unknown.

A primer that reads a stream says what it still needs of it: ``needs_from(now)``. A time frame does; a primer of another
kind that has a ``stream`` and a ``needs_from`` is asked, too. What was deleted is remembered (``kck_cursor``), in the
transaction that deletes it where the source is in the same database: who reads the stream then knows what is gone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction

from .. import clock
from ..errors import DeclarationError
from ..primer import Primer
from ..registry import registry
from ..spread import alias_of
from ..store import cursors
from ..store.session import caller
from ..stream import Stream
from ..timeframe import TimeFrame
from . import frames as frames  # which says what time frames need


@dataclass(frozen=True, slots=True)
class Need:
    """What one primer still needs of a source.

    Attributes:
        product: Its key base.
        since: From when on it needs it; None: nobody knows.
        why: Why nobody knows.
    """

    product: str
    since: datetime | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be deleted of a source.

    Attributes:
        needs: What its consumers need, the lowest first, and first of all the unknown.
        cutoff: What lies before it may go; None: nothing.
        why: Why it is that, in words.
    """

    needs: tuple[Need, ...]
    cutoff: datetime | None
    why: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted of a source, or would be.

    Attributes:
        source: The stream's name.
        found: How many items lay before the cutoff; 0 where there is none.
        deleted: How many of them were deleted.
    """

    source: str
    verdict: Verdict
    found: int
    deleted: int


def stream_of(primer: Primer) -> Stream | None:
    """Return the stream that a primer reads; None of one that reads none. What its ``stream`` raises, rises."""
    found: Any = getattr(primer, "stream", None)
    if isinstance(primer, TimeFrame) and primer.merges_base is not None:
        return None  # it is made of other frames
    if found is None or not callable(getattr(primer, "needs_from", None)):
        return None
    if not isinstance(found, Stream) and callable(found):
        found = found()
    return found if isinstance(found, Stream) else None


def consumers() -> Iterator[tuple[Primer, Stream]]:
    """Yield each primer that reads a stream, with that.

    Raises:
        DeclarationError: one cannot say which it reads, or cannot be set up: it may be any.
    """
    if registry.broken:
        raise DeclarationError(
            f"{registry.broken[0].module} cannot be set up, and may read any stream, so nothing may be deleted of any. "
            "See: manage.py check --tag kck"
        )
    for primer in registry.unique():
        try:
            stream = stream_of(primer)
        except Exception as error:
            raise DeclarationError(
                f"{primer.name!r} cannot say which stream it reads, so nothing may be deleted of any: {error}"
            ) from error
        if stream is not None:
            yield primer, stream


def named(name: str) -> Stream:
    """Return the stream of that name.

    Raises:
        DeclarationError: no primer reads it, or it is a name of two.
    """
    read = list(consumers())
    found = [stream for _, stream in read if stream.name == name]
    if not found:
        there = ", ".join(sorted({stream.name for _, stream in read})) or "none"
        raise DeclarationError(
            f"No primer reads a stream named {name!r}, so nobody says what may be deleted of it. Read are: {there}."
        )
    if len({stream.origin for stream in found}) > 1:
        raise DeclarationError(
            f"Two streams are named {name!r}, and read different data: name one otherwise."
        )
    return found[0]


def needs_of(origin: Hashable, now: datetime) -> list[Need]:
    """Return what is still needed of a source, by each primer that reads a stream of it, whatever that is called.

    Raises:
        DeclarationError: a primer cannot say what it reads.
    """
    found = []
    for primer, stream in consumers():
        if stream.origin != origin:
            continue
        try:
            since = primer.needs_from(now)  # type: ignore[attr-defined]
            why = "" if since is not None else "it does not know what it needs"
            if since is not None and since.tzinfo is None:
                since, why = None, f"its needs_from returned the naive {since}"
        except Exception as error:
            since, why = None, f"its needs_from failed: {type(error).__name__}: {error}"
        found.append(Need(primer.name, since, why))
    return sorted(found, key=lambda need: (need.since is not None, need.since or now, need.product))


def verdict_of(origin: Hashable, now: datetime, keep: timedelta | None = None) -> Verdict:
    """Return what may be deleted of a source.

    Args:
        keep: How old it has to be at least, whatever is needed.

    Raises:
        DeclarationError: a primer cannot say what it reads.
    """
    needs = tuple(needs_of(origin, now))
    if not needs:
        return Verdict(needs, None, "no primer reads it, so nobody says what may go")
    lowest = needs[0]
    if lowest.since is None:
        return Verdict(needs, None, f"what {lowest.product!r} needs is unknown: {lowest.why}")
    if keep is not None and now - keep < lowest.since:
        return Verdict(needs, now - keep, f"it is kept for {keep}")
    if now < lowest.since:
        return Verdict(needs, now, "nothing that has come is needed")
    return Verdict(needs, lowest.since, f"from then on {lowest.product!r} needs it")


def prune_source(
    name: str, *, keep: timedelta | None = None, dry_run: bool = False, now: datetime | None = None
) -> Pruned:
    """Delete what nobody needs any more of a source. Where what somebody needs is unknown, nothing is deleted, and the
    source is not asked for anything.

    Args:
        name: The stream's name.
        keep: How old it has to be at least, whatever is needed.
        dry_run: Count only.

    Raises:
        DeclarationError: no primer reads a stream of that name, or one cannot say what it reads.
        NotImplementedError: the source is not ours to delete from.
    """
    stream = named(name)
    now = now or clock.now()
    verdict = verdict_of(stream.origin, now, keep)
    if verdict.cutoff is None:
        return Pruned(name, verdict, 0, 0)
    found = countable(stream, verdict.cutoff)
    if dry_run or not found:
        return Pruned(name, verdict, found, 0)
    return Pruned(name, verdict, found, sum(pruning(stream, verdict.cutoff, keep)))


def countable(stream: Stream, cutoff: datetime) -> int:
    """Return how many items lie before an instant. Raises NotImplementedError: it is not ours to delete from."""
    if not stream.deletes:
        stream.delete_before(cutoff)  # which says so
    return stream.count_before(cutoff)


def pruning(stream: Stream, cutoff: datetime, keep: timedelta | None = None) -> Iterator[int]:
    """Delete what lies before ``cutoff`` step by step; yields how many each had. What is asked for meanwhile stays."""
    for cut in stream.cuts_before(cutoff):
        may = verdict_of(stream.origin, clock.now(), keep).cutoff
        if may is None or may < cut:
            return  # an older frame was asked for since
        yield _delete(stream, cut)


def _delete(stream: Stream, cut: datetime) -> int:
    """Delete what lies before an instant, and remember that, wherever it is read."""
    readers = {
        (alias_of(primer), one.name)
        for primer, one in consumers()
        if one.origin == stream.origin and one.name
    }
    with ExitStack() as together:
        if stream.database is not None:
            together.enter_context(transaction.atomic(using=stream.database))
        # Where it cannot be in one transaction it is remembered first: what is gone must never be taken to be there.
        for alias, name in sorted(readers):
            cursors.note_deleted(caller(alias), f"stream:{name}", cut.astimezone(UTC))
        return stream.delete_before(cut)
