"""Redis Streams: the entries of a stream, read by a consumer group, through redis-py. Redis 6.2 or newer."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

from ..message import Message, Source
from . import library
from .reading import AS, Coming, Reading, decoded

# Seconds for the server to take a connection, and to answer; a read blocks for less.
PATIENCE = 10.0
LONGEST_BLOCK = 5.0
PAGE = 1000

# A consumer that holds nothing can go; one that holds something must not, for what it holds would be nobody's. Both are
# looked at and done in one step. Those that died holding nothing are gone after a day.
FORGET = """
for _, told in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local one = {}
  for i = 1, #told, 2 do one[told[i]] = told[i + 1] end
  if one.pending == 0 and (one.name == ARGV[2] or one.idle > 86400000) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], one.name)
  end
end
"""


class RedisStreams(Source):
    """A stream, of which each process of a group reads some.

    What a consumer has fetched and not acknowledged is taken over by another, or by its successor, once it has shown no
    sign of life for ``claim_after``. The message's id is the entry's; its instant the one in the entry's id; its topic
    the stream's name. An entry with the field ``body`` is a message with that body, whose other fields are its headers;
    of any other, the body is the dict of its fields, which are texts.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://`` or ``unix://``.
        stream: Its name; one that is not there yet is made.
        group: The consumer group; one that is not there is made.
        start: Where a new group begins: ``"0"`` with the first entry there is, ``"$"`` with the next that comes.
        consumer: What this process is called in the group; a name of its own where not given. Two processes of one name
            would not see each other die.
        claim_after: After how long without a sign of life a consumer is taken to be dead. A batch that takes longer to
            store is harmless: it is delivered again.
        connection: Further arguments of ``redis.Redis.from_url``.
        id, at, key, topics, only_topics: See ``Reading``.
    """

    # Several processes may read one group, and what comes again comes later than what followed it.
    ordered: ClassVar[bool] = False

    def __init__(
        self,
        url: str,
        stream: str,
        *,
        group: str = "kck_flow",
        start: str = "0",
        consumer: str = "",
        claim_after: timedelta = timedelta(minutes=1),
        connection: Mapping[str, Any] | None = None,
        id: str = "",
        at: str = "",
        key: str = "",
        topics: Mapping[str, str] | None = None,
        only_topics: Sequence[str] = (),
    ) -> None:
        self._redis = library("redis", "redis")
        if not isinstance(claim_after, timedelta) or claim_after <= timedelta(0):
            raise TypeError(f"claim_after must be a timedelta above zero, not {claim_after!r}.")
        self._url, self.stream, self.group, self._start = url, stream, group, start
        self.consumer = consumer or f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._claim_after = claim_after.total_seconds()
        self._options = dict(connection or {})
        self._reading = Reading(id=id, at=at, key=key, topics=topics, only_topics=only_topics)
        self._client: Any = None
        self._begin()

    def _begin(self) -> None:
        # Entries that we have and have not settled, and when those that are to come again may.
        self._held: dict[bytes, float | None] = {}
        self._came = Coming()
        # Whether the connection is as good as it was.
        self._whole = True
        self._claim_from: bytes = b"0-0"
        self._claim_at = 0.0
        self._renew_at = 0.0

    def _connect(self) -> Any:
        options = {
            "socket_connect_timeout": PATIENCE,
            "socket_timeout": PATIENCE,
            # Names and values are bytes of any kind; answers have the shape of the older protocol.
            "decode_responses": False,
            "protocol": 2,
            # Whoever reads opens it again: then it learns what it still holds.
            "retry": self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0),
            **self._options,
        }
        return self._redis.Redis.from_url(self._url, **options)

    def open(self, position: Any = None) -> None:
        self.close()
        self._begin()
        client = self._connect()
        try:
            client.xgroup_create(self.stream, self.group, id=self._start, mkstream=True)
        except self._redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._client = client
        # What a process of our own name left behind need not wait until it is taken to be dead.
        self._arrived(
            client.xreadgroup(self.group, self.consumer, {self.stream: "0"}, count=PAGE), again=True
        )

    def fetch(self, most: int, timeout: float) -> Sequence[Message]:
        try:
            return self._fetch(self._ready(), most, timeout)
        except Exception:
            self._whole = False
            raise

    def _fetch(self, client: Any, most: int, timeout: float) -> Sequence[Message]:
        deadline = time.monotonic() + timeout
        while not self._came:
            self._renew()
            self._expire()
            self._claim(most)
            if self._came:
                break
            now = time.monotonic()
            dues = [due for due in self._held.values() if due is not None]
            until = min([deadline, now + LONGEST_BLOCK, self._claim_at, self._renew_at, *dues])
            block = max(int((until - now) * 1000), 1) if timeout > 0 else None
            self._arrived(
                client.xreadgroup(
                    self.group, self.consumer, {self.stream: ">"}, count=self._came.likely(most), block=block
                )
            )
            if time.monotonic() >= deadline:
                break
        return self._came.take(most)

    def _arrived(self, answer: Any, again: bool = False) -> None:
        for _, entries in answer or ():
            told = self._told(entries) if again else {}
            self._take(entries, told)

    def _take(
        self, entries: Iterable[tuple[bytes, dict[bytes, bytes] | None]], told: Mapping[bytes, int]
    ) -> None:
        unwanted = []
        for entry, fields in entries:
            if not fields:  # trimmed away while it was pending: there is nothing to fetch any more
                unwanted.append(entry)
                continue
            message = self._message(entry, fields, told.get(entry, 1))
            if self._reading.wants(message):
                self._held[entry] = None
                self._came.put(message, sum(map(len, fields.values())))
            else:
                unwanted.append(entry)
        if unwanted:
            self._client.xack(self.stream, self.group, *unwanted)

    def _message(self, entry: bytes, fields: Mapping[bytes, bytes], deliveries: int) -> Message:
        headers: dict[str, Any] = {}
        payload, body = fields.get(b"body"), None
        if payload is not None:
            headers = {_name(name): value for name, value in fields.items() if name != b"body"}
        else:
            body, coded = {}, []
            for name, value in fields.items():
                try:
                    body[_name(name)] = value.decode()
                except UnicodeDecodeError:
                    body[_name(name)], _ = decoded(value)
                    coded.append(_name(name))
            if coded:  # which of them are base64
                headers[AS] = coded
        return self._reading.message(
            name=self.name or self.stream,
            topic=self.stream,
            payload=payload,
            body=body,
            headers=headers,
            id=entry.decode(),
            at=_instant(entry),
            deliveries=deliveries,
            receipt=entry,
        )

    def _told(self, entries: Sequence[tuple[bytes, Any]]) -> dict[bytes, int]:
        """Return how often entries of ours have been delivered."""
        if not entries:
            return {}
        found = self._client.xpending_range(
            self.stream,
            self.group,
            entries[0][0],
            entries[-1][0],
            len(entries) + len(self._held),
            self.consumer,
        )
        return {one["message_id"]: one["times_delivered"] for one in found}

    def _claim(self, most: int) -> None:
        """Take over what consumers hold that show no sign of life; ours, too, that are to come again."""
        if time.monotonic() < self._claim_at:
            return
        self._claim_from, entries, *_ = self._client.xautoclaim(
            self.stream,
            self.group,
            self.consumer,
            int(self._claim_after * 1000),
            start_id=self._claim_from,
            count=self._came.likely(most),
        )
        if self._claim_from == b"0-0":  # that was all; until it is asked for sooner
            self._claim_at = time.monotonic() + self._claim_after / 2
        # What we hold ourselves is being stored: a long batch is no death.
        entries = [one for one in entries if one[0] is not None and one[0] not in self._held]
        self._take(entries, self._told(entries))

    def _renew(self) -> None:
        """Give a sign of life for all that we hold."""
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + self._claim_after / 3
        self._set_idle(list(self._held), 0)

    def _expire(self) -> None:
        """Let go of what is to come again, and whose time has come: it is anybody's."""
        now = time.monotonic()
        due = [entry for entry, at in self._held.items() if at is not None and at <= now]
        if due:
            self._set_idle(due, int(self._claim_after * 1000) + 1)
            for entry in due:
                del self._held[entry]
            self._claim_from, self._claim_at = b"0-0", 0.0

    def _set_idle(self, entries: Sequence[bytes], milliseconds: int) -> None:
        for page in range(0, len(entries), PAGE):
            # Only what is still ours: another may have taken it over.
            some = entries[page : page + PAGE]
            ours = {
                one["message_id"]
                for one in self._client.xpending_range(
                    self.stream,
                    self.group,
                    min(some, key=_order),
                    max(some, key=_order),
                    10 * PAGE,
                    self.consumer,
                )
            }
            kept = [entry for entry in some if entry in ours]
            if kept:
                self._client.xclaim(
                    self.stream, self.group, self.consumer, 0, kept, idle=milliseconds, justid=True
                )

    def ack(self, batch: Sequence[Message]) -> None:
        client = self._ready()
        entries = [message.receipt for message in batch]
        if entries:
            client.xack(self.stream, self.group, *entries)
        for entry in entries:
            self._held.pop(entry, None)

    def nack(self, batch: Sequence[Message], delay: timedelta = timedelta(0)) -> None:
        self._ready()
        due = time.monotonic() + delay.total_seconds()
        self._held |= {message.receipt: due for message in batch if message.receipt in self._held}
        self._expire()

    def lag(self) -> int | None:
        for told in self._ready().xinfo_groups(self.stream):
            if told["name"] == self.group.encode():
                # Redis 7 counts what has not been delivered; after deletions it may not know.
                return told["lag"] + told["pending"] if told.get("lag") is not None else None
        return None

    def history(self, since: datetime, until: datetime) -> Iterable[Message]:
        """Yield the messages whose entries were made in ``[since, until)``, oldest first."""
        client = self._connect()
        try:
            first, last = f"{_milliseconds(since)}-0", f"({_milliseconds(until)}-0"
            while entries := client.xrange(self.stream, first, last, count=PAGE):
                for entry, fields in entries:
                    message = self._message(entry, fields, 1)
                    if self._reading.wants(message):
                        yield message
                first = f"({entries[-1][0].decode()}"
        finally:
            client.close()

    def _ready(self) -> Any:
        if self._client is None:
            raise ConnectionError(f"The source {self.name or self.stream!r} is not open.")
        return self._client

    def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(Exception):  # a server that is gone takes nothing back; another takes it over later
            if self._whole:
                self._client = client
                self._set_idle(list(self._held), int(self._claim_after * 1000) + 1)
                client.eval(FORGET, 1, self.stream, self.group, self.consumer)
        self._client = None
        with suppress(Exception):
            client.close()
        self._begin()


def _order(entry: bytes) -> tuple[int, int]:
    first, _, second = entry.partition(b"-")
    return int(first), int(second)


def _name(given: bytes) -> str:
    return given.decode("utf-8", "backslashreplace")


def _instant(entry: bytes) -> datetime | None:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(entry.partition(b"-")[0]))
    except OverflowError:  # an id of its sender's own
        return None


def _milliseconds(at: datetime) -> int:
    """Return the first millisecond that is not before an instant."""
    return max(-((datetime(1970, 1, 1, tzinfo=UTC) - at) // timedelta(milliseconds=1)), 0)
