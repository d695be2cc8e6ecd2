"""MessageStream: the log of messages, as a stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast

from . import spread
from .errors import DeclarationError
from .message import Message
from .model_stream import ModelStream
from .store import outbox
from .store.session import caller

FIELDS = ("topic", "body", "message_id", "at", "partition_key", "headers")


class MessageStream(ModelStream):
    """The messages of some topics, in the order of when what they tell happened: what the project sent, and what
    sources brought. The items are ``Message`` objects.

    A time frame over it sees a message in the window in which it happened, a topic as it comes. What has been deleted
    from the log is a gap. It cannot be split by parameters, nor be deleted from: the log is its topics', too.

    Args:
        topics: Names of messages, ``*`` for anything, such as ``"orders.*"``.
        name: What the stream is called in commands; ``"messages:"`` and the topics where not given.
        watermark: As of ``ModelStream``. A broker may bring later what happened before: that is what the ``lateness``
            of a time frame is for.
    """

    def __init__(self, *topics: str, name: str | None = None, watermark: Any = "now") -> None:
        if not topics or not all(isinstance(one, str) and one for one in topics):
            raise DeclarationError(
                f"A MessageStream is of topics, such as MessageStream('orders.*'), not {topics!r}."
            )
        which = Q()
        for one in topics:
            if "*" in one:
                which |= Q(topic__regex="^" + ".*".join(map(re.escape, one.split("*"))) + "$")
            else:
                which |= Q(topic=one)
        super().__init__(
            "kck_flow.Outbox",
            "at",
            name=name or f"messages:{','.join(topics)}",
            filter=which,
            fields=FIELDS,
            watermark=watermark,
        )

    @property
    def database(self) -> str:
        return spread.alias_of(None)

    def _selected(self) -> Sequence[Any]:
        # As text: how a body is kept, the log knows.
        return [Cast(name, models.TextField()) if name in ("body", "headers") else name for name in FIELDS]

    def _item(self, row: dict[str, Any], at: datetime) -> Message:
        headers = outbox.body_of(row["headers"]) or {}
        body = outbox.body_of(row["body"])
        return Message(row["topic"], body, row["message_id"], at, row["partition_key"], headers)

    def narrowed(self, params: Any) -> Any:
        if not params:
            return self
        raise NotImplementedError(
            f"The stream {self.name!r} cannot be split by {', '.join(params)}: its messages are whole. "
            "Keep what is to be told apart as rows of a table, or use a Topic."
        )

    @property
    def deletes(self) -> bool:
        return False

    def delete_before(self, cutoff: datetime) -> int:
        raise NotImplementedError(f"The stream {self.name!r} is the log of messages, which topics read, too.")

    def gaps(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, datetime]]:
        pruned = outbox.pruned_before(caller(self.database))
        return ((start, min(pruned, end)),) if pruned is not None and start < pruned and start < end else ()
