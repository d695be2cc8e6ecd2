"""Message: what a bus brings; and Source: how it is fetched from one.

A source is five verbs. What it brings is appended to the one log of messages (``kck_outbox``), where an id that has
been there before changes nothing; only then is it acknowledged. Topics read the log.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

# Characters of a topic's name: beyond that, no index could hold it.
LONGEST_TOPIC = 500


@dataclass(slots=True)
class Message:
    """One message.

    Attributes:
        topic: What it is about, such as ``"orders.paid"``; at most 500 characters.
        body: What it says: JSON, as Python has it. Each handler gets a copy of its own.
        id: What tells it from every other of its source; one that comes again changes nothing. Where a source gives
            none, a digest of topic, instant and body stands for it.
        at: When what it tells happened; aware.
        key: What its order matters for: messages of one key are handled in their order. Empty for none.
        headers: What the bus said beside the body.
        deliveries: How often it has been delivered, as far as the source knows; 1 for the first time.
        enriched: What ``Topic.enrich`` returned for it; None without one.
        receipt: The source's own: what ``ack`` needs.
    """

    topic: str
    body: Any
    id: str = ""
    at: datetime | None = None
    key: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    deliveries: int = 1
    enriched: Any = None
    receipt: Any = None


class Source(ABC):
    """Where messages come from. ``kck_flow.testing.sources.SourceConformance`` tests a source of your own.

    ``kck consume`` opens it, fetches, appends what came to the log in one transaction, and acknowledges after the
    commit. What is not acknowledged is brought again: by the source, or after a restart. One process at a time uses one
    object of it; several processes may each open one.

    Attributes:
        name: What it is called: in ``KCK_FLOW["SOURCES"]``, in the commands, and with each message in the log.
        ordered: Whether messages of one key come in their order.
        seekable: Whether ``open`` can go on from a position, so that nothing needs to be acknowledged.
    """

    name: str = ""
    ordered: ClassVar[bool] = False
    seekable: ClassVar[bool] = False

    @abstractmethod
    def open(self, position: Any = None) -> None:
        """Connect, and subscribe: from here on, what is sent will be fetched.

        Args:
            position: Of a seekable source, what ``position`` returned with the last batch that was kept; None to begin.

        Raises:
            Exception: it cannot be reached. It is tried again, with a pause.
        """

    @abstractmethod
    def fetch(self, most: int, timeout: float) -> Sequence[Message]:
        """Return what has come, at most ``most`` messages, as soon as there is any; nothing after ``timeout`` seconds.

        Raises:
            Exception: the connection is lost. It is closed and opened again.
        """

    @abstractmethod
    def ack(self, batch: Sequence[Message]) -> None:
        """Say that these messages are kept, and need not come again."""

    @abstractmethod
    def nack(self, batch: Sequence[Message], delay: timedelta = timedelta(0)) -> None:
        """Say that these messages were not kept, and are to come again, not before ``delay`` where it can."""

    def lag(self) -> int | None:
        """Return how many messages wait at the source; None where it cannot tell."""
        return None

    def position(self) -> Any:
        """Return where a seekable source is, after the last fetch: something that JSON can hold."""
        return None

    def history(self, since: datetime, until: datetime) -> Iterable[Message]:
        """Yield the messages of ``[since, until)`` from what the source remembers, oldest first.

        Raises:
            NotImplementedError: it remembers nothing.
            Exception: some of it could not be read: nothing of what was asked for counts as fetched.
        """
        raise NotImplementedError(f"The source {self.name!r} has no history.")

    @property
    def has_history(self) -> bool:
        """Whether ``history`` is there."""
        return type(self).history is not Source.history

    def close(self) -> None:  # noqa: B027  # a source without a connection has nothing to let go of
        """Let go of the connection."""
