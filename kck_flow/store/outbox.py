"""The log of messages: appended to by the project and by sources, read by topics, each from where it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID
from zlib import crc32

from ..codec import JSON
from ..message import Message
from . import private
from .session import Session, dumps, plain

# A partition key belongs to one of so many shards; topics that are split read some of them each.
SHARDS = 64
# So many levels of a body are looked at.
DEPTH = 200
# The name under which is kept how far the log has been deleted.
LOG = "log"
TABLE = "kck_outbox"
# Of the advisory lock between whoever deletes from the log and whoever goes by what has been deleted ("kcl", in hex).
# It lasts no longer than a transaction.
LOCK = (0x6B636C, 0)


def digest_of(source: str, message: Message, body: str) -> UUID:
    """Return what tells a message from every other: its source and id; without an id, what it says and when."""
    if message.id:
        told = f"{source}\0{message.id}"
    else:
        at = message.at.isoformat() if message.at is not None else ""
        told = f"{source}\0\0{message.topic}\0{at}\0{body}"
    return UUID(bytes=sha256(told.encode("utf-8", "surrogatepass")).digest()[:16])


def text_of(body: Any) -> str:
    """Return a body as it stands in the log: plain JSON wherever that says all of it, else with the codec's marks.

    Raises:
        UnstorableValue: it cannot be kept.
    """
    try:
        text = json.dumps(body, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return JSON.encode(body)
    if text.count("[") + text.count("{") > DEPTH:
        JSON.encode(body)  # it may be nested deeper than PostgreSQL reads: then it says so
    # What only the codec can carry: names that look like its marks, NUL and lone surrogates.
    if '"$' in text or "\\u0000" in text or "\\ud" in text:
        return JSON.encode(body)
    return text


def body_of(text: str | None) -> Any:
    """Return a body from its text in the log; each call a copy of its own."""
    if text is None:
        return None
    return JSON.decode(text) if '"$' in text else json.loads(text)


def shard_of(key: str, digest: UUID) -> int:
    """Return the shard of a partition key; a message without one is in any."""
    return (crc32(key.encode()) if key else digest.int) % SHARDS


def append(
    session: Session,
    source: str,
    messages: Sequence[Message],
    now: datetime,
    audience: Sequence[str] | None = None,
) -> int:
    """Append messages, in their order, in the session's transaction; returns how many had not been there.

    Args:
        source: Where they come from; empty for the project itself.
        now: The instant of those that have none.
        audience: Key bases of the topics that they are for; None for all that read their topic. What has been there for
            some is for these, too.

    Raises:
        UnstorableValue: a body cannot be kept; nothing was appended.
    """
    if not messages:
        return 0
    bodies = [text_of(message.body) for message in messages]
    digests = [digest_of(source, message, body) for message, body in zip(messages, bodies, strict=True)]
    if len(set(digests)) < len(digests):
        # Of one that stands there twice, the first.
        first = {digest: place for place, digest in reversed(list(enumerate(digests)))}
        places = sorted(first.values())
        messages = [messages[place] for place in places]
        bodies, digests = [bodies[place] for place in places], [digests[place] for place in places]
    keys = [plain(message.key) if message.key else "" for message in messages]
    row = session.row(
        "append_messages",
        {
            "source": source,
            "digests": digests,
            "topics": [plain(message.topic) for message in messages],
            "ids": [
                plain(message.id) if message.id else digest.hex
                for message, digest in zip(messages, digests, strict=True)
            ],
            "keys": keys,
            "shards": [shard_of(key, digest) for key, digest in zip(keys, digests, strict=True)],
            "ats": [message.at or now for message in messages],
            "bodies": bodies,
            "headers": [text_of(dict(message.headers)) if message.headers else None for message in messages],
            "audience": dumps(list(audience)) if audience is not None else None,
        },
        known="DO NOTHING" if audience is None else _FOR_OTHERS_TOO,
    )
    new = int(row[0]) if row else 0
    if source and audience is None and new < len(digests):
        # Some have been there, maybe for some topics only. Apart, since the others need not be locked.
        session.run(
            "UPDATE kck_outbox SET audience = NULL WHERE digest = ANY(%(digests)s::uuid[]) AND audience IS NOT NULL",
            {"digests": digests},
        )
    return new


_FOR_OTHERS_TOO = (
    "DO UPDATE SET audience = o.audience || (EXCLUDED.audience - ARRAY(SELECT jsonb_array_elements_text(o.audience))) "
    "WHERE o.audience IS NOT NULL"
)


# -- where a reader is
# -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a transaction saw: all transactions below ``end`` but those in ``running``.

    PostgreSQL's own ``pg_snapshot``, of numbers of transactions (xid8).
    """

    end: int
    running: tuple[int, ...] = ()

    @classmethod
    def of(cls, text: str, own: int | None = None) -> Snapshot:
        """Return the snapshot that PostgreSQL spells; without what the transaction ``own`` writes itself, which
        PostgreSQL counts as seen.
        """
        _, end, running = text.split(":")
        numbers = {int(one) for one in running.split(",") if one}
        if own is not None and own < int(end):
            numbers.add(own)
        return cls(int(end), tuple(sorted(numbers)))

    def text(self) -> str:
        """Return it as PostgreSQL reads it."""
        begin = min((*self.running, self.end))
        return f"{begin}:{self.end}:{','.join(map(str, self.running))}"


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader has come.

    Attributes:
        done: The snapshot of which it has read everything; None before the first round is over.
        until: The snapshot that it reads up to in the round that is under way; None between two rounds.
        xact, id: The last that it has read in this round.
        counted: What it had read before it went back, or before it was split otherwise: places, each with the instant
            before which what was read stays counted (None: always), and the shards that this was so of (None: all).
        floor, extra: Of a log that was restored into another server, whose transactions have other numbers: what stood
            in it is told by its id, read if among ``extra``.
    """

    done: Snapshot | None = None
    until: Snapshot | None = None
    xact: int = 0
    id: int = 0
    counted: tuple[tuple[Place, datetime | None, tuple[int, ...] | None], ...] = ()
    floor: int = 0
    extra: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "done": self.done.text() if self.done is not None else None,
            "until": self.until.text() if self.until is not None else None,
            "after": [self.xact, self.id],
        }
        if self.counted:
            found["counted"] = [
                [place.to_json(), at.isoformat() if at is not None else None, shards]
                for place, at, shards in self.counted
            ]
        if self.floor:
            found |= {"floor": self.floor, "extra": list(self.extra)}
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any] | None) -> Place:
        if not found:
            return cls()
        return cls(
            Snapshot.of(found["done"]) if found["done"] else None,
            Snapshot.of(found["until"]) if found["until"] else None,
            found["after"][0],
            found["after"][1],
            tuple(
                (
                    cls.from_json(place),
                    datetime.fromisoformat(at) if at is not None else None,
                    tuple(shards) if shards is not None else None,
                )
                for place, at, shards in found.get("counted", ())
            ),
            found.get("floor", 0),
            tuple(found.get("extra", ())),
        )

    def sql(self, row: str = "o") -> str:
        """Return SQL of whether a row of the log has been read by a reader that is here."""
        parts = [f"pg_visible_in_snapshot({row}.xact, '{self.done.text()}')"] if self.done is not None else []
        if self.until is not None:
            parts.append(
                f"(pg_visible_in_snapshot({row}.xact, '{self.until.text()}') "
                f"AND ({row}.xact, {row}.id) <= ('{self.xact}'::xid8, {self.id}))"
            )
        read = f"({' OR '.join(parts)})" if parts else "false"
        if self.floor:
            extra = f"'{{{','.join(map(str, self.extra))}}}'::bigint[]"
            return f"(CASE WHEN {row}.id <= {self.floor} THEN NOT ({row}.id = ANY({extra})) ELSE {read} END)"
        return read


@dataclass(frozen=True, slots=True)
class Logged:
    """A message of the log, its body still text."""

    id: int
    xact: int
    source: str
    topic: str
    message_id: str
    key: str
    at: datetime
    text: str | None
    headers: str | None
    shard: int

    def message(self) -> Message:
        """Return a copy of its own of the message."""
        return Message(
            self.topic,
            body_of(self.text),
            self.message_id,
            self.at,
            self.key,
            body_of(self.headers) or {},
        )


def pattern_sql(patterns: Sequence[str], column: str = "o.topic") -> tuple[str, dict[str, Any]]:
    """Return SQL, and its parameters, of whether a topic's name is one of some patterns: ``*`` stands for anything."""
    if any(pattern == "*" for pattern in patterns):
        return "true", {}
    exact = [pattern for pattern in patterns if "*" not in pattern]
    forms = [
        "^" + ".*".join(map(re.escape, pattern.split("*"))) + "$" for pattern in patterns if "*" in pattern
    ]
    parts, params = [], {}
    if exact:
        parts.append(f"{column} = ANY(%(exact)s)")
        params["exact"] = exact
    if forms:
        parts.append(f"{column} ~ ANY(%(forms)s)")
        params["forms"] = forms
    return f"({' OR '.join(parts)})" if parts else "false", params


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the log, and what of it.

    Attributes:
        name: The key base of a topic.
        patterns: The topics that it reads.
        shards: Which of them; None for all.
        since: What happened before is not read; None for all.
    """

    name: str
    patterns: tuple[str, ...]
    shards: tuple[int, ...] | None = None
    since: datetime | None = None

    def sql(self, place: Place) -> tuple[str, dict[str, Any]]:
        """Return SQL, and its parameters, of which rows are his, and were not counted before he went back."""
        topics, params = pattern_sql(self.patterns)
        parts = [topics, "(o.audience IS NULL OR o.audience @> to_jsonb(%(reader)s::text))"]
        params["reader"] = self.name
        if self.shards is not None:
            parts.append("o.shard = ANY(%(read)s::smallint[])")
            params["read"] = list(self.shards)
        if self.since is not None:
            parts.append("o.at >= %(since)s")
            params["since"] = self.since
        if place.floor:
            params["floor"] = place.floor
        for number, (earlier, before, of) in enumerate(place.counted):
            counted = [earlier.sql()]
            if place.floor and not earlier.floor:
                # Read before the log was restored elsewhere: what has come since has other numbers.
                counted.append("o.id <= %(floor)s")
            if before is not None:
                counted.append(f"o.at < %(before{number})s")
                params[f"before{number}"] = before
            if of is not None:
                counted.append(f"o.shard = ANY(%(of{number})s::smallint[])")
                params[f"of{number}"] = list(of)
            parts.append(f"NOT ({' AND '.join(counted)})")
        return " AND ".join(parts), params


def read(session: Session, place: Place, reader: Reader, limit: int) -> tuple[list[Logged], Place]:
    """Return what is next for a reader, and where he is after that. In one transaction with what it makes of them.

    Inside of a TestCase, all of which is one transaction, what that has written itself is read, too; elsewhere, what a
    handler sends in the transaction that handles its message is read in the next.
    """
    now, own = session.run("SELECT pg_current_snapshot()::text, pg_current_xact_id_if_assigned()::text")[0]
    seen = Snapshot.of(now, int(own) if own else None)
    if place.done is not None and place.done.end > seen.end:
        place = _restored(session, place, seen)
    in_test = private.in_test_case()
    if in_test and own is not None:
        seen = Snapshot(max(seen.end, int(own) + 1), tuple(one for one in seen.running if one != int(own)))
    until = seen if in_test else place.until or seen
    his, params = reader.sql(place)
    if place.extra:
        return _read_extra(session, place, his, params, limit)
    rows = session.rows(
        "read_log",
        {**params, **_ahead(place), "until": until.text(), "limit": limit},
        his=his,
        until=" AND pg_visible_in_snapshot(o.xact, %(until)s::pg_snapshot)",
        floor=" AND o.id > %(floor)s" if place.floor else "",
    )
    found = [_logged(row) for row in rows]
    ahead = found[-1] if found else None
    # Of a transaction that wrote something else first, and sent last: in the order of their sending.
    found.sort(key=lambda one: one.id)
    if in_test:
        # More may come of the same transaction: the round is never over.
        xact, number = (ahead.xact, ahead.id) if ahead is not None else (place.xact, place.id)
        after = replace(place, until=None, xact=xact, id=number)
    elif len(found) < limit:
        # The round is over: all that its snapshot saw has been read, what was counted before with it.
        after = Place(until, floor=place.floor)
    else:
        assert ahead is not None
        after = Place(place.done, until, ahead.xact, ahead.id, place.counted, place.floor, place.extra)
    return found, after


def _ahead(place: Place) -> dict[str, Any]:
    """Return the parameters that say what lies ahead of a place."""
    return {
        "running": [str(one) for one in place.done.running] if place.done is not None else [],
        "from": str(place.done.end) if place.done is not None else "0",
        "xact": str(place.xact),
        "id": place.id,
    }


def waiting(session: Session, place: Place, reader: Reader, most: int) -> int:
    """Return how many messages wait for a reader, counted up to ``most``."""
    his, params = reader.sql(place)
    rows = session.rows(
        "read_log",
        {**params, **_ahead(place), "limit": most},
        his=his,
        until="",
        floor=" AND o.id > %(floor)s" if place.floor else "",
    )
    return min(len(rows) + len(place.extra), most)


def _logged(row: Sequence[Any]) -> Logged:
    number, xact, source, topic, message_id, key, at, text, headers, shard = row
    return Logged(
        number,
        int(xact),
        source,
        topic,
        message_id,
        key,
        datetime.fromtimestamp(at, UTC),
        text,
        headers,
        shard,
    )


def _restored(session: Session, place: Place, seen: Snapshot) -> Place:
    """Return a place in the log as it was restored into a server whose transactions have smaller numbers."""
    top = session.run("SELECT coalesce(max(id), 0) FROM kck_outbox")[0][0]
    extra = session.run(f"SELECT o.id FROM kck_outbox o WHERE NOT {place.sql()} ORDER BY o.xact, o.id")
    # What of that was counted before is told by the numbers that it has kept.
    return Place(
        Snapshot(seen.end, seen.running), None, 0, 0, place.counted, int(top), tuple(row[0] for row in extra)
    )


def _read_extra(
    session: Session, place: Place, his: str, params: dict[str, Any], limit: int
) -> tuple[list[Logged], Place]:
    taken, left = place.extra[:limit], place.extra[limit:]
    rows = session.run(
        "SELECT o.id, o.xact::text, o.source, o.topic, o.message_id, o.partition_key, "
        "extract(epoch FROM o.at)::float8, o.body::text, o.headers::text, o.shard FROM kck_outbox o "
        f"WHERE o.id = ANY(%(ids)s) AND {his} ORDER BY array_position(%(ids)s::bigint[], o.id)",
        {**params, "ids": list(taken)},
    )
    return [_logged(row) for row in rows], replace(place, extra=left)


def from_floor(session: Session, place: Place) -> Place:
    """Return the place of a reader that begins again in a restored log: what was restored is told by its id."""
    rows = session.run(
        "SELECT id FROM kck_outbox WHERE id <= %(floor)s ORDER BY xact, id", {"floor": place.floor}
    )
    return replace(place, extra=tuple(row[0] for row in rows))


def hold(session: Session) -> None:
    """Have nothing more deleted from the log until the session's transaction ends."""
    session.run("SELECT pg_advisory_xact_lock_shared(%s, %s)", LOCK)


def pruned_before(session: Session) -> datetime | None:
    """Return the instant before which messages have been deleted from the log; None where none was."""
    rows = session.run(
        "SELECT extract(epoch FROM since)::float8 FROM kck_cursor WHERE reader = %(log)s", {"log": LOG}
    )
    return datetime.fromtimestamp(rows[0][0], UTC) if rows and rows[0][0] is not None else None


def last(session: Session) -> int:
    """Return the highest id that a message has been given, whether it is there yet or not."""
    return int(session.run("SELECT last_value FROM kck_outbox_id_seq")[0][0])


def lock_reader(session: Session, reader: str) -> None:
    """Hold all parts of a reader until the transaction ends; whoever is at one is waited for."""
    session.run(
        "SELECT 1 FROM kck_cursor WHERE reader = %(reader)s ORDER BY part FOR UPDATE", {"reader": reader}
    )


# -- what nobody needs any more
# --------------------------------------------------------------------------------------------


def read_by_all(session: Session, readers: Sequence[str], days: float) -> int | None:
    """Return the number of the transaction below which every topic has read all that was appended; None where it cannot
    be told: one has not been through the log yet, or there is none.

    A topic that is not among ``readers`` counts, too, while it has moved within so many days: another release knows it.
    """
    rows = session.run(
        "SELECT position -> 'done' #>> '{}' FROM kck_cursor WHERE reader NOT LIKE '%%:%%' AND reader <> %(log)s "
        "AND (reader = ANY(%(readers)s) OR moved_at > clock_timestamp() - %(days)s * interval '1 day')",
        {"log": LOG, "readers": list(readers), "days": days},
    )
    if not rows or any(done is None for (done,) in rows):
        return None
    return min(min((*seen.running, seen.end)) for seen in (Snapshot.of(done) for (done,) in rows))


_OLD = (
    "FROM kck_outbox WHERE xact < %(below)s::xid8 AND received_at < clock_timestamp() - %(days)s * interval '1 day' "
    # What says that it happened later stays: all from before the latest that is gone will be refused.
    "AND at < clock_timestamp() - %(days)s * interval '1 day' "
    "AND (%(needed)s::timestamptz IS NULL OR at < %(needed)s::timestamptz)"
)


def old(session: Session, readers: Sequence[str], days: float, needed: datetime | None = None) -> int:
    """Return how many messages were appended more than so many days ago, and have been read by every topic.

    Args:
        needed: What happened from then on is needed besides; None: nothing is.
    """
    below = read_by_all(session, readers, days)
    if below is None:
        return 0
    params = {"below": str(below), "days": days, "needed": needed}
    return int(session.run(f"SELECT count(*) {_OLD}", params)[0][0])


def prune(
    session: Session, readers: Sequence[str], days: float, batch: int, needed: datetime | None = None
) -> Iterator[int]:
    """Delete those, and remember up to when; yields how many each batch had."""
    while True:
        alone = not session.connection.in_atomic_block
        with session.transaction():
            if alone:
                session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            # Whoever goes back meanwhile, or begins, is waited for; only then is it known what nobody needs.
            session.run("SELECT pg_advisory_xact_lock(%s, %s)", LOCK)
            below = read_by_all(session, readers, days)
            if below is None:
                return
            rows = session.run(
                f"DELETE FROM kck_outbox WHERE id IN (SELECT id {_OLD} ORDER BY id LIMIT %(limit)s "
                "FOR UPDATE SKIP LOCKED) RETURNING extract(epoch FROM at)::float8",
                {"below": str(below), "days": days, "limit": batch, "needed": needed},
            )
            if rows:
                session.run(
                    "INSERT INTO kck_cursor (reader, part, since, begun_at) VALUES (%(log)s, 0, to_timestamp(%(at)s), "
                    "clock_timestamp()) ON CONFLICT (reader, part) DO UPDATE SET since = greatest(kck_cursor.since, "
                    "EXCLUDED.since)",
                    {"log": LOG, "at": max(row[0] for row in rows) + 1e-6},
                )
        if rows:
            yield len(rows)
        if len(rows) < batch:
            return
