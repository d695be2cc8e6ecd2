"""What brings hints to a fleet, and does not wait for Django's apps: a project's ``celery.py`` comes before them."""

from __future__ import annotations

from typing import Protocol

from ..conf import conf

# Three times what a hint may wait in a broker that is well; never so short that a busy one is flooded with offers.
DISPATCH_SECONDS = 30.0
IN_FLIGHT = 16


class Executor(Protocol):
    """What an adapter has to be able to do: bring hints to a fleet."""

    @property
    def name(self) -> str:
        """What ``kck status`` calls it."""

    def capacity(self) -> int:
        """Return how many hints it takes now: what its fleet can have in flight, less what is."""

    def submit(self, slot: int, token: int, lane: int) -> None:
        """Send a hint on its way; somewhere in the fleet ``entry(slot, token)`` is then called.

        Args:
            slot, token: Which refresh, and under which lease; nothing else may cross the broker.
            lane: How urgent it is, 0 to 9, the lowest first; for a broker that knows priorities.

        Raises:
            Exception: the broker cannot be reached; the refresh is given back, and offered again by a later tick.
        """


class Bounded:
    """What the adapters here have in common, and one of your own may: a bound on the hints that are on their way.

    Args:
        in_flight: How many hints may wait in the broker at once, whoever sent them: as many as the fleet begins within
            ``lease``. With more, those that wait longest are offered again, to no purpose.
        lease: Seconds after which a hint that nobody has followed is offered again.
        alias: The database whose refreshes they are; the store's own where not given.

    Raises:
        ValueError: a number is not above zero.
    """

    name = ""

    def __init__(
        self, *, in_flight: int = IN_FLIGHT, lease: float = DISPATCH_SECONDS, alias: str | None = None
    ) -> None:
        if in_flight < 1:
            raise ValueError(f"in_flight is a number of hints above zero, not {in_flight!r}.")
        if lease <= 0:
            raise ValueError(f"lease is a number of seconds above zero, not {lease!r}.")
        self.in_flight, self.lease, self.alias = in_flight, lease, alias

    def capacity(self) -> int:
        return self.in_flight

    def elsewhere(self) -> tuple[str, ...]:
        """Return what a hint says besides slot and token: the database, where it is not the store's own."""
        return (self.alias,) if self.alias not in (None, str(conf.DATABASES[0])) else ()
