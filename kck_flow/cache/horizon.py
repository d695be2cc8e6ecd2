"""How far a time frame's stream is complete, from when on it has frames, and what of its source is gone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import clock
from .. import key as keys
from ..errors import DeclarationError
from ..key import Key
from ..registry import registry
from ..store import cursors
from ..store.session import Session, caller
from ..stream import Stream
from ..timeframe import TimeFrame, aligned

EPOCHS = "frames:"


@dataclass(frozen=True, slots=True)
class Horizon:
    """Of one product of a time frame.

    Attributes:
        first: From when on there are frames; None while nothing is there to begin with.
        declared: Whether the declaration says so, and not the stream's first item.
        watermark: Up to when the stream is complete; None where nobody knows.
        due: Windows that end by then may be closed.
        deleted: What was before is gone from the source; None: all is there.
    """

    first: datetime | None
    declared: bool
    watermark: datetime | None
    due: datetime | None
    deleted: datetime | None


def base_of(primer: TimeFrame) -> TimeFrame | None:
    """Return the family that a time frame is merged from; None of one that a stream feeds.

    Raises:
        DeclarationError: it is no time frame, or one that cannot be merged.
    """
    name = primer.merges_base
    if name is None:
        return None
    base = registry.primers.get(name)
    if not isinstance(base, TimeFrame) or base is primer:
        raise DeclarationError(f"{primer.name!r} merges {name!r}, which is no other time frame.")
    return base


def finer_of(primer: TimeFrame, size: str) -> tuple[TimeFrame, str] | None:
    """Return (family, size) of the frames that those of a size are merged from; None of those computed from items.

    Raises:
        DeclarationError: no size of the other family fits.
    """
    own = primer.finer[size]
    if own is not None:
        return primer, own
    base = base_of(primer)
    if base is None:
        return None
    for name in reversed(base.sizes):
        fine, coarse = base.sizes[name], primer.sizes[size]
        if base.hops == 1 and aligned(fine, coarse) and base.length(name) <= primer.length(size):
            return base, name
    raise DeclarationError(
        f"{primer.name!r} merges {base.name!r}, none of whose windows fill its own: "
        "they must begin where windows of that do, and follow one another."
    )


def coarser_of(primer: TimeFrame, size: str) -> list[tuple[TimeFrame, list[str]]]:
    """Return (family, sizes) of the frames that are merged from those of a size."""
    found: list[tuple[TimeFrame, list[str]]] = []
    for other in registry.unique():
        if not isinstance(other, TimeFrame):
            continue
        try:
            sizes = [name for name in other.sizes if finer_of(other, name) == (primer, size)]
        except DeclarationError:
            continue  # told by the checks
        if sizes:
            found.append((other, sizes))
    return found


def stream_of(primer: TimeFrame, params: dict[str, Any]) -> Stream:
    """Return the stream that feeds a product, be it by way of the family it is merged from. What it raises, rises."""
    base = base_of(primer)
    return stream_of(base, params) if base is not None else primer.stream_of(params)


def reader_of(primer: TimeFrame, params: dict[str, Any]) -> str:
    """Return the name under which it is kept when a product's frames began."""
    return f"{EPOCHS}{keys.build(primer.name, primer.own_parameters, params)}"


def own_params(primer: TimeFrame, key: Key) -> dict[str, Any]:
    """Return a key's own parameters."""
    return {one.name: key.params[one.name] for one in primer.own_parameters}


def look(
    primer: TimeFrame,
    params: dict[str, Any],
    alias: str,
    *,
    session: Session | None = None,
    pin: bool = False,
) -> Horizon:
    """Return how far a product's stream is. What the stream raises, rises.

    Args:
        pin: Whether the beginning is to be kept, where it follows from the first item: what is older and comes later
            begins no frames.
    """
    session = session or caller(alias)
    base = base_of(primer)
    if base is not None:
        below = look(base, params, alias, session=session)
        due = below.due - primer.lateness if below.due is not None else None
        first = primer.epoch or below.first
        return Horizon(
            _window_of(primer, first) if first is not None else None,
            primer.epoch is not None,
            below.watermark,
            _sooner(due, primer.until),
            None,
        )
    stream = primer.stream_of(params)
    now = clock.now()
    watermark, latest = stream.watermark(), stream.latest()
    if primer.quiet is not None and stream.stands_still and (latest is None or latest <= now - primer.quiet):
        watermark = max(watermark or now - primer.quiet, now - primer.quiet)
    if watermark is not None:
        watermark = min(watermark, now)  # a window that is not over by the clock is not complete
    first = primer.epoch or _pinned(session, primer, params, stream, pin)
    return Horizon(
        _window_of(primer, first) if first is not None else None,
        primer.epoch is not None,
        watermark,
        _sooner(watermark - primer.lateness if watermark is not None else None, primer.until),
        deleted_before(session, stream),
    )


def deleted_before(session: Session, stream: Stream) -> datetime | None:
    """Return before when a stream's items were deleted; None: none were."""
    if not stream.name:
        return None
    found = cursors.listed(session, f"stream:{stream.name}")
    return max((one.since for one in found if one.since is not None), default=None)


def _window_of(primer: TimeFrame, at: datetime) -> datetime:
    """Return where the first window of the finest size begins."""
    return next(iter(primer.sizes.values())).start_of(at)


def _sooner(due: datetime | None, until: datetime | None) -> datetime | None:
    return min(due, until) if due is not None and until is not None else due


def _pinned(
    session: Session, primer: TimeFrame, params: dict[str, Any], stream: Stream, pin: bool
) -> datetime | None:
    reader = reader_of(primer, params)
    known = cursors.listed(session, reader)
    if known and known[0].since is not None:
        return known[0].since
    first = stream.earliest()
    if first is not None and pin:
        first = _window_of(primer, first)
        cursors.begin(session, reader, [0], None, first)
    return first
