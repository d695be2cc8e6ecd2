"""The project's own end of the log: what it sends, in its own transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import clock
from ..conf import conf
from ..message import LONGEST_TOPIC, Message
from ..store import outbox
from ..store.session import Session, caller


def send(
    topic: str,
    body: Any,
    *,
    id: str = "",
    at: datetime | None = None,
    key: str = "",
    headers: Mapping[str, Any] | None = None,
    using: str | None = None,
) -> bool:
    """Send a message, in the caller's transaction: it is there once that commits, and never if it does not.

    Args:
        topic: What it is about, such as ``"orders.paid"``.
        body: What it says; anything that a product can hold.
        id: What tells it from every other that the project sends. One that was sent before is not sent again. Where not
            given, a digest of topic, instant and body stands for it.
        at: When what it tells happened; now where not given.
        key: What its order matters for.
        headers: More about it.
        using: Alias of the database; that of the store where not given.

    Returns:
        Whether it was new.

    Raises:
        UnstorableValue: the body cannot be kept.
        ValueError: there is no topic, its name is too long, or the instant is naive.
    """
    return send_many([Message(topic, body, id, at, key, headers or {})], using=using) == 1


def send_many(messages: Sequence[Message], *, using: str | None = None) -> int:
    """Send messages in their order, in one statement; returns how many were new. See ``send``."""
    return append(using or str(conf.DATABASES[0]), "", messages)


def append(
    into: Session | str, source: str, messages: Sequence[Message], audience: Sequence[str] | None = None
) -> int:
    """Append what a source brought, in the transaction of the session (or of the caller's connection to an alias);
    returns how many had not been there.

    Raises:
        UnstorableValue, ValueError: as ``send``; nothing was appended.
    """
    session = caller(into) if isinstance(into, str) else into
    now = clock.now()
    for message in messages:
        if not isinstance(message.topic, str) or not message.topic:
            raise ValueError(f"A message needs the name of its topic, a text; {message.topic!r} is none.")
        if len(message.topic) > LONGEST_TOPIC:
            raise ValueError(
                f"The name of a topic has at most {LONGEST_TOPIC} characters; {message.topic[:60]!r}… has "
                f"{len(message.topic):,}. Say in the body what is no name."
            )
        if message.at is None and not message.id:
            message.at = now  # sent twice, it is two
        if message.at is not None and (not isinstance(message.at, datetime) or message.at.tzinfo is None):
            raise ValueError(
                f"The instant of a message is an aware datetime, not {message.at!r} (topic {message.topic!r})."
            )
        if message.at is not None and not 2 <= message.at.year <= 9998:
            raise ValueError(
                f"The instant of a message lies between the years 2 and 9998, not {message.at.isoformat()} "
                f"(topic {message.topic!r})."
            )
    return outbox.append(session, source, messages, now, audience)


def known_from(session: Session, messages: Sequence[Message]) -> datetime | None:
    """Return the instant before which the log does not know any more what it had; None where nothing was deleted.

    In the transaction of what is appended: where any of the messages is about so old, it stays so until that ends.
    """
    old = clock.now() - timedelta(days=max(conf.MESSAGE_RETENTION_DAYS - 1, 0))
    if any(is_before(one, old) for one in messages):
        outbox.hold(session)
    return outbox.pruned_before(session)


def is_before(message: Message, at: datetime | None) -> bool:
    """Return whether a message says that it happened before an instant. One whose own has no zone says nothing."""
    return at is not None and message.at is not None and message.at.tzinfo is not None and message.at < at
