"""A worker's hand that carries nothing out itself: what it claims, it hands to a fleet as hints."""

from __future__ import annotations

from collections.abc import Callable

from ..store.refreshes import Claim
from .executor import Executor, hand_out
from .passes import Passes


class Outward:
    """Stands in a ``Worker`` where ``Hand`` does. It holds nothing: a hint that is on its way is the fleet's.

    Args:
        executor: What brings hints to the fleet, by database.
        passes: The worker's, by database; empty while it has none.

    Attributes:
        done: How many hints were sent.
        failed: 0: how a refresh ends is the fleet's to know.
        running: Always empty.
    """

    threaded = False

    def __init__(self, executor: Callable[[str], Executor], passes: dict[str, Passes]) -> None:
        self.done = self.failed = 0
        self.running: dict[tuple[str, int], tuple[str, Claim]] = {}
        self._executor, self._passes = executor, passes
        self._made: dict[str, Executor] = {}

    def take(self, alias: str, claim: Callable[[int], list[Claim]]) -> int:
        """Hand out what is due, as much as the fleet takes; returns how much that was."""
        handed = hand_out(self.of(alias), self._passes[alias])
        self.done += handed
        return handed

    def of(self, alias: str) -> Executor:
        """Return the executor of a database's refreshes."""
        if alias not in self._made:
            self._made[alias] = self._executor(alias)
        return self._made[alias]

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def carry_out(self) -> None: ...

    def release_waiting(self) -> None: ...

    def held(self, *, wait: float = 0.0) -> list[tuple[str, Claim]]:
        return []

    def release(self, alias: str, claim: Claim) -> None:
        raise AssertionError("nothing is held here")
