"""What messages have made of products: read as any other, and where no message has come, what a product is then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import clock, spread
from ..entry import Entry, Point
from ..errors import InvalidKey, NotPrimed
from ..key import Key
from ..registry import registry
from ..store import cursors, held, products
from ..store.products import Stored
from ..store.session import caller
from ..topic import Topic
from ..windows import as_window
from . import reach
from .context import OPEN, context_of


def fed(key: Key) -> Topic | None:
    """Return the topic that a key is of; None of any other."""
    primer = registry.primers.get(key.key_base)
    return primer if isinstance(primer, Topic) else None


def untouched(key: Key, topic: Topic) -> Entry:
    """Return the entry of a product that no message has reached: its initial state, since its topic began.

    Raises:
        NotPrimed: its topic has not begun (or waits for history), did not know of its window, or does not keep it any
            more.
    """
    known = _standing(topic)
    now = clock.now()
    if topic.sizes:
        start, end = topic.bounds(key)
        since = _since(known)
        if start > now:
            raise NotPrimed(f"{str(key)!r} has not begun: its window begins at {start.isoformat()}.")
        if since is not None and end <= since:
            raise NotPrimed(
                f"{str(key)!r} lies before {since.isoformat()}, when {topic.name!r} begins to read."
            )
        if start < topic.kept_from(now).get(key.params.get("size") or "", start):
            raise NotPrimed(f"{str(key)!r} ended longer ago than {topic.name!r} keeps windows (retention).")
    at = max((one.moved_at for one in known if one.moved_at is not None), default=known[0].begun_at)
    return Entry(str(key), topic.initial(), 0, at, None, None, "fresh", timedelta(0))


def told(key: Key, topic: Topic, stored: Stored | None) -> dict[str, Any]:
    """Return what ``explain`` tells of a topic's product: it is not computed, and does not expire."""
    session = caller(spread.alias_of(topic))
    known = cursors.listed(session, topic.name)
    aside = {one.state: one.messages for one in held.counted(session, topic.name)}
    found: dict[str, Any] = {
        "messages": {
            "handled": sum(one.messages for one in known),
            "until": complete_until(topic, known) if known else None,
            "since": _since(known),
            "waiting": aside.get(held.WAITING, 0) + aside.get(held.READY, 0),
            "parked": aside.get(held.PARKED, 0),
            "error": next((one.error for one in known if one.error), ""),
        }
    }
    if stored is not None and stored.state == "value":
        return found
    try:
        entry = untouched(key, topic)
    except (NotPrimed, InvalidKey) as error:
        return {**found, "state": "empty", "cause": str(error)}
    return {**found, "state": "fresh", "cause": "no message has reached it", "value": entry.value}


def _standing(topic: Topic) -> list[cursors.Standing]:
    alias = spread.alias_of(topic)
    known = reach.once_more(
        alias, context_of(alias) == OPEN, topic.name, lambda: cursors.listed(caller(alias), topic.name)
    )
    if not known:
        raise NotPrimed(f"{topic.name!r} has not begun to read messages. Run: manage.py kck consume")
    waits = sorted({name for one in known for name in one.position.get("waits", ())})
    if waits:
        raise NotPrimed(
            f"{topic.name!r} waits for the history of {', '.join(waits)}, and has read nothing before that is there. "
            "Run: manage.py kck consume"
        )
    return known


def _since(known: Sequence[cursors.Standing]) -> datetime | None:
    return max((one.since for one in known if one.since is not None), default=None)


def complete_until(topic: Topic, known: Sequence[cursors.Standing]) -> datetime | None:
    """Return the instant up to which a topic has handled all that had come, less its lateness; None where it is behind
    from the beginning.
    """
    if not all(one.moved_at is not None for one in known):
        return None
    until = min(one.moved_at for one in known if one.moved_at is not None) - topic.lateness
    aside = held.counted(caller(spread.alias_of(topic)), topic.name)
    return min([until, *(one.earliest for one in aside if one.earliest is not None)])


def series(key: Key, topic: Topic, start: datetime, end: datetime, by: str | timedelta | None) -> list[Point]:
    """Return one point for each window of a topic that overlaps ``[start, end)``; see ``Cache.series``.

    Args:
        key: Of any of its windows, or of what they have in common.
        by: The name (or size) of its windows, where it has several; the finest where not given.

    Raises:
        ValueError: it has no such windows.
    """
    if not topic.sizes:
        raise ValueError(f"{topic.name!r} has no windows: it has one value, and no series of them.")
    size = _size(topic, key, by)
    window = topic.sizes[size]
    known = _standing(topic)
    since, until = _since(known), complete_until(topic, known)
    missing = [gap for one in known for gap in one.missing]
    keys, bounds = [], []
    begin = window.start_of(start)
    while begin < end:
        after = window.after(begin)
        keys.append(topic.key_at(key.params, size, begin))
        bounds.append((begin, after))
        begin = after
    session = caller(spread.alias_of(topic))
    texts = products.texts_by_digest(session, [one.digest for one in keys])
    now = clock.now()
    kept = topic.kept_from(now).get(size)
    points = []
    for one, (begin, after) in zip(keys, bounds, strict=True):
        text = texts.get(one.digest)
        gone = text is None and kept is not None and begin < kept
        unknown = begin > now or gone or (since is not None and after <= since)
        value = topic.codec.decode(text) if text is not None else None if unknown else topic.initial()
        whole = (
            until is not None
            and not gone
            and after <= until
            and (since is None or begin >= since)
            and not any(gap[0] < after and begin < gap[1] for gap in missing)
        )
        points.append(Point(begin, after, value, whole))
    return points


def _size(topic: Topic, key: Key, by: str | timedelta | None) -> str:
    if by is None:
        return str(key.params.get("size") or next(iter(topic.sizes)))
    if isinstance(by, str) and by in topic.sizes:
        return by
    wanted = as_window(by, topic.tz)
    for name, window in topic.sizes.items():
        if window == wanted:
            return name
    there = ", ".join(name or repr(topic.window) for name in topic.sizes)
    raise ValueError(f"{topic.name!r} has no windows of {by!r}. It has: {there}.")
