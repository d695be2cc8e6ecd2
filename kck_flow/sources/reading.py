"""From what a broker delivers to a Message: the body decoded, and where its id, instant and key are found.

Nothing that is delivered can make it raise: whatever cannot be decoded arrives as text, or as base64.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import re
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ..codec import MAX_DEPTH
from ..message import LONGEST_TOPIC, Message
from . import texts

logger = logging.getLogger("kck_flow")

# The header that says that a body was no JSON, and what it is instead: "text" or "base64".
AS = "kck_body"
# Bytes of a batch, as they came: one message may have more.
BATCH_BYTES = 4 * 1024 * 1024


class Coming:
    """Messages that have come, and wait to be fetched: in batches that are not too large to be stored at once."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Message]] = deque()
        self._bytes = 0
        # What a message has been of late.
        self._usual = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message, size: int) -> None:
        """Put one at the end, which was so many bytes long."""
        self._waiting.append((size, message))
        self._bytes += size
        self._usual = size if not self._usual else self._usual * 0.9 + size * 0.1

    def enough(self, most: int) -> bool:
        """Return whether a batch of so many messages is there, or one of so many bytes as a batch may have."""
        return len(self._waiting) >= most or self._bytes >= BATCH_BYTES

    def likely(self, most: int) -> int:
        """Return how many more messages to ask for, at most ``most``, so that they are likely to be one batch."""
        return max(min(most, int(BATCH_BYTES / max(self._usual, 1.0))), 1)

    def take(self, most: int) -> list[Message]:
        """Return the next batch, of at most so many messages."""
        batch: list[Message] = []
        taken = 0
        while (
            self._waiting and len(batch) < most and (not batch or taken + self._waiting[0][0] <= BATCH_BYTES)
        ):
            size, message = self._waiting.popleft()
            taken += size
            batch.append(message)
        self._bytes -= taken
        return batch


class Reading:
    """How messages of one source are read. Its options are options of every source.

    Args:
        id: The header, or the field of the body, that tells a message from every other. Where a message has none, what
            the broker gives is its id.
        at: The header or field that says when it happened: ISO 8601, or a number of seconds (or milliseconds, micro- or
            nanoseconds) since 1970. Where a message has none, what the broker tells is.
        key: The header or field for which the order of messages matters.
        topics: What to call what the broker calls otherwise: ``{"shop.*.paid": "orders.paid"}``. The first pattern that
            fits counts, ``*`` stands for anything; what no pattern fits keeps the broker's name.
        only_topics: Patterns of the topics that are wanted. Others are acknowledged and left out. All where not given.

    A field of a field is written with a dot: ``"order.id"``.
    """

    def __init__(
        self,
        *,
        id: str = "",
        at: str = "",
        key: str = "",
        topics: Mapping[str, str] | None = None,
        only_topics: Sequence[str] = (),
    ) -> None:
        for option, given in (("id", id), ("at", at), ("key", key)):
            if not isinstance(given, str):
                raise TypeError(f"{option} must be the name of a header or of a field, not {given!r}.")
        self.id, self.at, self.key = id, at, key
        if topics is not None and not isinstance(topics, Mapping):
            raise TypeError(f"topics must be a dict of the broker's names and yours, not {topics!r}.")
        if topics and not all(isinstance(one, str) and one for pair in topics.items() for one in pair):
            raise TypeError(f"topics must be a dict of texts, none of them empty, not {dict(topics)!r}.")
        self._topics = [(pattern_of(pattern), name) for pattern, name in (topics or {}).items()]
        self._only = [pattern_of(pattern) for pattern in texts("only_topics", only_topics)]
        # Whether it has been told that messages have no id: those without an instant, and those with one.
        self._told: set[bool] = set()

    def message(
        self,
        *,
        name: str,
        topic: str,
        headers: Mapping[str, Any],
        payload: bytes | None = None,
        body: Any = None,
        id: str = "",
        at: datetime | None = None,
        deliveries: int = 1,
        receipt: Any = None,
    ) -> Message:
        """Return the message.

        Args:
            name: That of the source, for the log: empty where there is another way to tell messages apart.
            topic, id, at: What the broker calls it, tells it by, and when it says that it was.
            payload, body: The body as bytes, to be decoded; or as it is.
        """
        plain = {_text(header): _plain(value) for header, value in headers.items()}
        if payload is not None:
            body, how = decoded(payload)
            if how:
                plain[AS] = how
        found = _named(_found(self.id, plain, body)) if self.id else ""
        at = (instant(_found(self.at, plain, body)) if self.at else None) or at
        if name and not found and not id and (at is not None) not in self._told:
            self._told.add(at is not None)
            logger.warning(
                'source.no_id source=%s topic=%s hint="%s; name the header or field that tells messages apart: option '
                'id"',
                name,
                topic,
                "what is delivered twice counts twice"
                if at is None
                else "two that say the same of the same instant count once",
            )
        return Message(
            self.topic(topic),
            body,
            id=found or id,
            at=at,
            key=_named(_found(self.key, plain, body)) if self.key else "",
            headers=plain,
            deliveries=deliveries,
            receipt=receipt,
        )

    def topic(self, given: str) -> str:
        """Return what a message is about, from what the broker calls it."""
        return next((name for pattern, name in self._topics if pattern.fullmatch(given)), given)[
            :LONGEST_TOPIC
        ]

    def wants(self, message: Message) -> bool:
        """Return whether the project wants it."""
        return not self._only or any(pattern.fullmatch(message.topic) for pattern in self._only)


def decoded(raw: bytes) -> tuple[Any, str]:
    """Return a body from what was sent, and what it is where it is no JSON: ``text``, ``base64``, or nothing."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode(), "base64"
    try:
        # Beyond its range a number would become infinite, and another than was sent: then the text says it.
        body = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError):
        return text, "text"
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(MAX_DEPTH, body):
        return text, "text"
    return body, ""


def instant(given: Any) -> datetime | None:
    """Return an aware instant from how messages tell it; None where they tell none.

    ISO 8601, UTC where it has no offset; or a number since 1970, its unit told by its size.
    """
    try:
        if isinstance(given, datetime):
            return given if given.tzinfo else given.replace(tzinfo=UTC)
        if isinstance(given, str) and not re.fullmatch(r"\d+(\.\d+)?", given):
            found = datetime.fromisoformat(given)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(given, (int, float, str)) and not isinstance(given, bool):
            number = float(given)
            for beyond, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):  # 1e11 seconds are the year 5138
                if number >= beyond:
                    number /= unit
                    break
            return datetime.fromtimestamp(number, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def pattern_of(pattern: str) -> re.Pattern[str]:
    """Return a pattern of topics: ``*`` stands for anything."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _deeper_than(depth: int, body: Any) -> bool:
    level = [body]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _found(name: str, headers: Mapping[str, Any], body: Any) -> Any:
    if name in headers:
        return headers[name]
    if isinstance(body, dict) and name in body:
        return body[name]
    for part in name.split("."):
        if not isinstance(body, dict) or part not in body:
            return None
        body = body[part]
    return body


def _named(given: Any) -> str:
    """Return an id or a key as text; nothing where it is none."""
    if isinstance(given, str):
        return given
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return json.dumps(given)
    return ""


def _text(given: Any) -> str:
    return given.decode("utf-8", "backslashreplace") if isinstance(given, bytes) else str(given)


def _plain(given: Any, depth: int = 20) -> Any:
    """Return a header as JSON can hold it."""
    if given is None or isinstance(given, (str, bool, int)):
        return given
    if isinstance(given, float):
        return given if math.isfinite(given) else str(given)
    if isinstance(given, (bytes, bytearray, memoryview)):
        try:
            return bytes(given).decode()
        except UnicodeDecodeError:
            return base64.b64encode(bytes(given)).decode()
    if isinstance(given, datetime):
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).isoformat()
    if isinstance(given, Decimal):
        return str(given)
    if depth and isinstance(given, Mapping):
        return {_text(name): _plain(value, depth - 1) for name, value in given.items()}
    if depth and isinstance(given, (list, tuple)):
        return [_plain(value, depth - 1) for value in given]
    return str(given)
