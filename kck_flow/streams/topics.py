"""Topics read the log: a batch of messages, what it made of their products, and their place, in one transaction.

A part of a topic is held by the lock of its cursor's row, for one transaction: whoever dies with it lets go of it, and
has done nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import clock, hooks, spread, waking
from ..cache import tier
from ..cache.failures import backoff_seconds
from ..conf import conf
from ..entry import Entry
from ..errors import InvalidKey, KckFlowError, NotPrimed
from ..key import Key
from ..registry import registry
from ..store import cursors, families, held, outbox, pending, private, products
from ..store.cursors import Cursor
from ..store.outbox import SHARDS, Place
from ..store.refreshes import instant
from ..store.session import Session, caller
from ..storing import args_of, public_of
from ..topic import Topic
from . import folding, remembering
from .folding import Batch, Given

logger = logging.getLogger("kck_flow")

# A topic whose messages are rare says that often, at least, how far it has looked.
LOOKED_SECONDS = 5.0
# Where all that ever happened begins.
ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one transaction of a part did.

    Attributes:
        messages: How many it took.
        more: Whether there are more, at once.
        parked: How many handlers failed.
        calm: Whether nothing could have been on its way that it did not see.
    """

    messages: int = 0
    more: bool = False
    parked: int = 0
    calm: bool = False


def topics(names: Sequence[str] | None = None, alias: str | None = None) -> list[Topic]:
    """Return the topics that are declared, or those named; of one database, where it is given.

    Raises:
        UnknownPrimer: a name is none.
        KckFlowError: it is no topic.
    """
    if names is None:
        found = [one for one in registry.unique() if isinstance(one, Topic)]
    else:
        found = []
        for name in names:
            primer = registry.primer(name)
            if not isinstance(primer, Topic):
                raise KckFlowError(f"{name!r} is no topic: it is not made of messages.")
            found.append(primer)
    return [one for one in found if alias is None or spread.alias_of(one) == alias]


def source_reader(name: str) -> str:
    """Return the name under which is kept how far a source has been read."""
    return f"source:{name}"


def begin(topic: Topic, now: datetime | None = None) -> None:
    """Let a topic begin, where it has not; and go on no further back than ``max_replay``, where it has been down."""
    now = now or clock.now()
    earliest = [
        one for one in (topic.epoch, now - topic.max_replay if topic.max_replay is not None else None) if one
    ]
    since = max(earliest, default=None)
    session = caller(spread.alias_of(topic))
    with session.transaction():
        known = cursors.listed(session, topic.name)
        if not known:
            # Inside of a TestCase nobody is there who would fetch it.
            waits = [] if private.in_test_case() else remembering.sources()
            position = _position(Place(), topic.partitions) | ({"waits": waits} if waits else {})
            outbox.hold(session)  # what it lacks is known, and no more
            # Of two that let it begin at once, the other waits until this has committed, and then does nothing.
            if cursors.begin(session, topic.name, range(topic.partitions), position, since):
                _note_logged(session, topic, waits, since)
                if waits:
                    logger.info("topic.waits family=%s sources=%s", topic.name, ",".join(waits))
            return
        if {_parts_of(one.position) for one in known} != {topic.partitions}:
            _split_otherwise(session, topic)
        for one in known:
            behind = one.moved_at or one.begun_at
            if topic.max_replay is None or since is None or behind >= since or (one.since or since) > since:
                continue
            missing = cursors.joined([*one.missing, (behind, since)])
            cursors.change(
                session,
                topic.name,
                one.part,
                since=max(since, one.since or since),
                missing=cursors.told(missing),
            )
            logger.warning(
                "topic.cut family=%s part=%d from=%s to=%s: down for longer than max_replay; windows of then lack data",
                topic.name,
                one.part,
                behind.isoformat(),
                since.isoformat(),
            )


def _note_logged(session: Session, topic: Topic, sources: Sequence[str], since: datetime | None) -> None:
    """Note what of the past of sources a topic finds in the log as it begins, and need not be fetched; and what it
    lacks of the log itself.
    """
    pruned = outbox.pruned_before(session)
    lacks = cursors.joined([(since or ALWAYS, pruned)]) if pruned is not None else ()
    found = {
        name: cursors.without(one.fetched_from(), lacks)
        for name in sources
        for one in cursors.listed(session, source_reader(name))
    }
    cursors.change(session, topic.name, 0, fetched=cursors.told_by_source(found), missing=cursors.told(lacks))


def _position(place: Place, parts: int) -> dict[str, Any]:
    return {**place.to_json(), "of": parts}


def _waits(position: Any) -> dict[str, Any]:
    """Return which sources a part waits for, as its position has it."""
    return {"waits": position["waits"]} if position.get("waits") else {}


def _parts_of(position: Any) -> int:
    return int((position or {}).get("of", 1))


def reader_of(topic: Topic, cursor: Cursor) -> outbox.Reader:
    """Return what of the log a part of a topic reads."""
    shards = _shards(cursor.part, _parts_of(cursor.position))
    return outbox.Reader(
        topic.name, topic.patterns, tuple(shards) if shards is not None else None, cursor.since
    )


def _shards(part: int, parts: int) -> list[int] | None:
    return [shard for shard in range(SHARDS) if shard % parts == part] if parts > 1 else None


def _split_otherwise(session: Session, topic: Topic) -> None:
    """Split a topic into another number of parts: each reads the log again, but what one of the old parts had read."""
    rows = session.run(
        "SELECT part FROM kck_cursor WHERE reader = %(reader)s ORDER BY part FOR UPDATE",
        {"reader": topic.name},
    )
    known = [one for one in cursors.listed(session, topic.name) if (one.part,) in rows]
    if not known or {_parts_of(one.position) for one in known} == {topic.partitions}:
        return  # somebody else has done it
    counted: list[tuple[Place, datetime | None, tuple[int, ...] | None]] = []
    for one in known:
        shards = _shards(one.part, _parts_of(one.position))
        of = tuple(shards) if shards is not None else None
        counted.append((replace(one.place, counted=()), None, of))
        for place, before, its in one.place.counted:
            both = of if its is None else its if of is None else tuple(sorted({*its} & {*of}))
            if both is None or both:
                counted.append((place, before, both))
    first = known[0]
    since = max((one.since for one in known if one.since is not None), default=None)
    moved = [one.moved_at for one in known]
    cursors.forget(session, topic.name)
    place = Place(counted=tuple(counted), floor=first.place.floor)
    position = _position(place, topic.partitions) | _waits(first.position)
    cursors.begin(session, topic.name, range(topic.partitions), position, since)
    cursors.change(
        session,
        topic.name,
        missing=cursors.told(cursors.joined([gap for one in known for gap in one.missing])),
        fetched=cursors.told_by_source(
            {
                name: cursors.joined([one for other in known for one in other.fetched.get(name, ())])
                for name in {name for one in known for name in one.fetched}
            }
        ),
        moved_at=min(one for one in moved if one is not None) if all(moved) else None,
        watermark=max((one.watermark for one in known if one.watermark is not None), default=None),
        begun_at=min(one.begun_at for one in known),
    )
    # What was counted so far is told by the first part.
    cursors.add(
        session,
        topic.name,
        0,
        messages=sum(one.messages for one in known),
        late=sum(one.late for one in known),
        refused=sum(one.refused for one in known),
    )
    session.run("UPDATE kck_held SET part = 0 WHERE key_base = %(reader)s", {"reader": topic.name})
    logger.info("topic.split family=%s parts=%d before=%d", topic.name, topic.partitions, len(known))


def turn(topic: Topic, part: int, limit: int | None = None) -> Turn | None:
    """Handle one batch of a part, on this thread's connection; None where somebody else is at it, or it has not begun.

    Raises:
        django.db.Error: the database failed; nothing has happened.
    """
    alias = spread.alias_of(topic)
    most = limit or topic.batch
    while True:
        try:
            return _turn(topic, part, alias, most)
        except folding.TooManyFail:
            most = max(most // 4, 1)


def _turn(topic: Topic, part: int, alias: str, most: int) -> Turn | None:
    session = caller(alias)
    alone = not session.connection.in_atomic_block
    with session.transaction():
        if alone:
            # Each statement sees what is there by then: a lock that was waited for is worth nothing in an old snapshot.
            session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            # A process that stands still, or whose host is gone, loses its part to another.
            session.run(f"SET LOCAL idle_in_transaction_session_timeout = {int(conf.HANDLER_TIMEOUT * 1000)}")
        now = (
            clock.now()
        )  # before it is looked who else is at work: who begins in between sends later than this
        cursor = cursors.lock(session, topic.name, part)
        if cursor is None or (cursor.position.get("waits") and not _wait_in_vain(session, topic, cursor)):
            return None
        until, looked_at = _until(cursor, now)
        place = cursor.place
        logged, after = outbox.read(session, place, reader_of(topic, cursor), most)
        aside = held.ready(session, topic.name, part, most)
        # Of a round that was begun in another transaction, more has come since.
        whole = place.until is None and after.until is None and not place.extra and len(logged) < most
        position = _position(after, _parts_of(cursor.position)) | looked_at
        if not logged and not aside:
            looked = cursor.moved_at is not None and (now - cursor.moved_at).total_seconds() < LOOKED_SECONDS
            looked = looked or (until is None and looked_at == {"looked": cursor.position.get("looked")})
            if not (looked and whole):
                cursors.move(session, cursor, position, moved_at=until if whole else None)
            return Turn(more=not whole, calm=whole and after.done is not None and not after.done.running)
        done = _handle(session, topic, part, alias, logged, aside)
        cursors.move(
            session,
            cursor,
            position,
            messages=len(logged),
            late=_late(topic, cursor, logged),
            watermark=max((one.at for one in logged), default=None),
            moved_at=until if whole else None,
        )
        return Turn(len(logged) + len(aside), not whole or len(aside) >= most, len(done.failures))


def _until(cursor: Cursor, now: datetime) -> tuple[datetime | None, dict[str, Any]]:
    """Return up to when all has come that a part has read once it has read all that is there, and what its position
    remembers of that. None: no further than is known.
    """
    # What a transaction has sent that is still open will come from before.
    until = min(now, cursor.open_since) if cursor.open_since is not None else now
    if cursor.hidden is None:
        return until, {}
    # Since when some are open cannot be told. But once all that have a smaller number than we had at an earlier look
    # are over, all has come that was sent before that.
    at, number = cursor.position.get("looked") or (None, 0)
    if at is not None and cursor.first_open < number < cursor.hidden:
        return None, {"looked": [at, number]}
    known = min(until, datetime.fromisoformat(at)) if at is not None and number < cursor.hidden else None
    return known, {"looked": [now.isoformat(), cursor.hidden]}


def _wait_in_vain(session: Session, topic: Topic, cursor: Cursor) -> bool:
    """Return whether all sources for which a part waits are gone, or go by another name: nobody will fetch for it."""
    waits = cursor.position["waits"]
    if remembering.there(waits):
        return False
    logger.warning(
        "topic.waits_no_more family=%s part=%d sources=%s: no source of that name remembers anything now",
        topic.name,
        cursor.part,
        ",".join(waits),
    )
    since, now, missing = cursor.since, clock.now(), cursor.missing
    if since is not None and since < now:
        seen = cursors.listed(session, topic.name)[0]
        for name in waits:
            lacks = cursors.without([(since, now)], seen.fetched_from(name))
            missing = cursors.joined([*missing, *lacks])
        cursors.change(session, topic.name, cursor.part, missing=cursors.told(missing))
    return True


def _late(topic: Topic, cursor: Cursor, logged: Sequence[outbox.Logged]) -> int:
    """Return how many messages came after the (finest) window that they belong to was taken to be complete."""
    if not topic.sizes or cursor.moved_at is None:
        return 0
    window = next(iter(topic.sizes.values()))
    by = cursor.moved_at - topic.lateness
    ends: dict[datetime, bool] = {}
    late = 0
    for one in logged:
        start = window.start_of(one.at)
        if start not in ends:
            ends[start] = window.after(start) <= by
        late += ends[start]
    return late


def _handle(
    session: Session,
    topic: Topic,
    part: int,
    alias: str,
    logged: Sequence[outbox.Logged],
    aside: Sequence[held.Aside],
) -> Batch:
    """Fold messages into their products, and set aside those that cannot be handled yet, or at all."""
    if topic.enriches:
        held.hold(session, topic.name, part, [(one, "", "", None) for one in logged], held.WAITING)
        now: Sequence[outbox.Logged] = ()
    else:
        now = logged
    given = [Given(one.logged, held.body(one.enriched)) for one in aside]
    given += [Given(one) for one in now]
    batch = folding.sorted_out(topic, given)
    if batch.products:
        _write(session, topic, alias, batch)
    _park(session, topic, part, batch, aside)
    return batch


def _write(session: Session, topic: Topic, alias: str, batch: Batch) -> None:
    keys = list(batch.products)
    before = products.held_for_writing(session, keys, [args_of(topic, key) for key in keys])
    decode = topic.codec.decode

    def states() -> dict[Key, Any]:
        return {
            key: decode(text) if text is not None else topic.initial()
            for key, text in zip(keys, before, strict=True)
        }

    found = folding.folded(topic, alias, batch, states)
    if not found:
        return
    listened = hooks.anything(topic)
    edges = registry.on_product(topic.name)
    old = states() if listened or edges else {}
    if listened:
        for key, (_, _, value) in found.items():
            hooks.run(topic, "pre_augment", key, session=session, changes=[])
            hooks.run(topic, "pre_write", key, session=session, value=value)
    stored = products.put_many(
        session,
        [(key, text, public_of(topic.codec, text)) for key, (text, _, _) in found.items()],
        primer_version=topic.version,
    )
    if pending.append_unmarked_downstream(
        session, [(key.digest, str(key)) for key in found], reason="message"
    ):
        waking.soon(session)
    if not (listened or edges or topic.keep_history):
        for key in found:
            tier.drop(key)
        return
    for key, (text, _, value) in found.items():
        version, at = stored[key]
        computed_at = instant(at)
        assert computed_at is not None
        spread.declared_from_product(
            session,
            key,
            version=version,
            old=old.get(key),
            new=value,
            at=computed_at,
            reason=f"{key} message",
        )
        if topic.keep_history:
            hooks.record(session, topic, key, text, version=version, at=at)
        if listened:
            entry = Entry(str(key), value, version, computed_at, None, None, "fresh", timedelta(0))
            hooks.run(topic, "post_write", key, session=session, entry=entry, old=old.get(key))
            hooks.run(topic, "post_augment", key, session=session, entry=entry, old=old.get(key))
        tier.drop(key)


def _park(session: Session, topic: Topic, part: int, batch: Batch, aside: Sequence[held.Aside]) -> None:
    """Set aside, or leave aside, the messages whose handlers failed; forget what had been and is handled now."""
    before = {one.logged.id: one for one in aside}
    first = []
    for number, failure in batch.failures.items():
        known = before.get(number)
        attempts = known.attempts + 1 if known is not None else 1
        pause = backoff_seconds(topic, attempts) if attempts <= topic.retries else None
        if known is not None:
            held.failed(session, replace(known, state=held.PARKED), failure.error, failure.trace, pause)
        else:
            first.append((failure.given.logged, failure.error, failure.trace, pause))
        logger.warning(
            "message.parked family=%s topic=%s id=%s attempts=%d again_in_s=%s error=%s",
            topic.name,
            failure.given.logged.topic,
            failure.given.logged.message_id,
            attempts,
            f"{pause:.1f}" if pause is not None else "never: kck retry",
            failure.error,
        )
    held.hold(session, topic.name, part, first, held.PARKED)
    held.done(session, [one.id for one in aside if one.logged.id not in batch.failures])


def rewind(topic: Topic, to: datetime | None = None) -> datetime:
    """Take a topic back: what it made of messages from the window around ``to`` on goes, and they are read again.

    Of a topic without windows, all of it goes: what it was at some instant is not known any more.

    Args:
        to: An aware instant; None, and only that, of a topic without windows.

    Returns:
        From when on it reads again.

    Raises:
        KckFlowError: some of what it has to read again is not in the log any more; nothing has happened.
    """
    if topic.sizes and to is None:
        raise KckFlowError(f"{topic.name!r} has windows: say from when on they are to be made again.")
    if not topic.sizes and to is not None:
        raise KckFlowError(
            f"{topic.name!r} has no windows: what it was at {to.isoformat()} is not known any more. Without an "
            "instant, all of it is made again."
        )
    alias = spread.alias_of(topic)
    session = caller(alias)
    start = _start_of_all(topic, to) if to is not None else None
    alone = not session.connection.in_atomic_block
    with session.transaction():
        if alone:
            session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        outbox.hold(session)  # what it goes back to
        # Whoever is at one of its parts is waited for.
        session.run(
            "SELECT 1 FROM kck_cursor WHERE reader = %(reader)s ORDER BY part FOR UPDATE",
            {"reader": topic.name},
        )
        known = cursors.listed(session, topic.name)
        if not known:
            raise NotPrimed(f"{topic.name!r} has not begun, and cannot go back. Run: manage.py kck consume")
        since = max((one.since for one in known if one.since is not None), default=None)
        begin_at = max((one for one in (start, since) if one is not None), default=None)
        pruned = outbox.pruned_before(session)
        if pruned is not None and (begin_at is None or begin_at < pruned):
            raise KckFlowError(
                f"{topic.name!r} cannot go back to {begin_at or 'its beginning'}: messages from before "
                f"{pruned.isoformat()} are not in the log any more. Nothing was changed."
            )
        there, left = _keys_of(session, topic)
        gone = [key for key in there if start is None or key.params["window"] >= start]
        products.empty(session, [key.digest for key in gone])
        held.forget(session, topic.name, start)
        for one in known:
            place = one.place
            counted: tuple[tuple[Place, datetime | None, tuple[int, ...] | None], ...] = ()
            if start is not None:
                counted = (
                    (replace(place, counted=()), start, None),
                    *((old, min(before or start, start), of) for old, before, of in place.counted),
                )
            again = Place(counted=counted, floor=place.floor)
            if place.floor:
                again = outbox.from_floor(session, again)
            cursors.change(
                session,
                topic.name,
                one.part,
                position=cursors.dumped(_position(again, _parts_of(one.position)) | _waits(one.position)),
                moved_at=None,
            )
        for key in gone:
            tier.drop(key)
        if gone:
            spread.from_family(session, topic.name, at=clock.now(), reason="rewind")
    logger.info(
        "topic.rewound family=%s to=%s products=%d", topic.name, begin_at or "the beginning", len(gone)
    )
    if left:
        logger.warning(
            "topic.left family=%s products=%d first=%s: their keys are not of the windows and parameters that it has "
            "now, and they stay as they are",
            topic.name,
            len(left),
            left[0],
        )
    return begin_at or known[0].begun_at


def _start_of_all(topic: Topic, at: datetime) -> datetime:
    """Return the last instant before ``at`` at which a window of each size begins."""
    for _ in range(100):
        start = min(window.start_of(at) for window in topic.sizes.values())
        if start == at:
            return start
        at = start
    raise KckFlowError(
        f"{topic.name!r} cannot go back: its windows of {', '.join(topic.sizes)} begin nowhere near together."
    )


def outlived(topic: Topic) -> list[Key]:
    """Return the windows of a topic that ended longer ago than it keeps them."""
    kept = topic.kept_from(clock.now())
    if not kept:
        return []
    found = []
    for key in _keys_of(caller(spread.alias_of(topic)), topic)[0]:
        start = key.params["window"]
        if start is not None and start < kept[key.params.get("size") or ""]:
            found.append(key)
    return found


def _keys_of(session: Session, topic: Topic) -> tuple[list[Key], list[str]]:
    """Return the keys of a topic's products; and those that are of windows (or parameters) which it had once: what they
    mean is not known any more.
    """
    keys, others = [], []
    for text in products.texts_of(session, topic.name):
        try:
            keys.append(topic.parse_key(text))
        except InvalidKey:
            others.append(text)
    return keys, others


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a topic is behind.

    Attributes:
        topic: Its key base.
        begun: Whether it has begun to read.
        messages: How many wait, counted up to ``most``.
        seconds: How long ago it had handled all that had come; None where it never had.
        handled, late: How many messages it has taken since it began; how many of them too late.
        waiting, parked: How many are set aside, to be enriched or because their handler failed.
        error: What it fails of, where it does.
        waits_for: The sources whose history it waits for before it reads anything.
    """

    topic: str
    begun: bool = False
    messages: int = 0
    seconds: float | None = None
    handled: int = 0
    late: int = 0
    waiting: int = 0
    parked: int = 0
    error: str = ""
    waits_for: tuple[str, ...] = ()


def lag(topic: Topic, most: int = 10_000) -> Lag:
    """Return how far a topic is behind what is in the log."""
    session = caller(spread.alias_of(topic))
    known = cursors.listed(session, topic.name)
    if not known:
        return Lag(topic.name)
    now = clock.now()
    moved = [one.moved_at for one in known if one.moved_at is not None]
    aside = {one.state: one.messages for one in held.counted(session, topic.name)}
    return Lag(
        topic.name,
        True,
        min(sum(outbox.waiting(session, one.place, reader_of(topic, one), most) for one in known), most),
        (now - min(moved)).total_seconds() if len(moved) == len(known) else None,
        sum(one.messages for one in known),
        sum(one.late for one in known),
        aside.get(held.WAITING, 0) + aside.get(held.READY, 0),
        aside.get(held.PARKED, 0),
        next((one.error for one in known if one.error), ""),
        tuple(sorted({name for one in known for name in one.position.get("waits", ())})),
    )


def retry(topic: Topic) -> int:
    """Have the parked messages of a topic handled again, with its next batch; returns how many."""
    return held.retry(caller(spread.alias_of(topic)), topic.name, topic.enriches)


def is_paused(session: Session, topic: Topic) -> bool:
    """Return whether a topic takes no messages for now."""
    return topic.name in families.paused(session)


def drain(names: Sequence[str] | None = None) -> int:
    """Handle what has come, until nothing is left, on this thread's connection; returns how many messages."""
    taken = 0
    for topic in topics(names):
        begin(topic)
        if is_paused(caller(spread.alias_of(topic)), topic):
            continue
        for part in range(topic.partitions):
            while (done := turn(topic, part)) is not None:
                taken += done.messages
                if not done.more:
                    break
    return taken
