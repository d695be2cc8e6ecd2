"""What was made last is given again while it would be made of the same: for what a page says of numbers that have not
changed since somebody last looked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from django.core.signals import setting_changed

V = TypeVar("V")

_all: WeakSet[Memo[Any]] = WeakSet()


class Same:
    """Equal to another only where both are the same object: for what is costly to compare, or equal and not alike, as
    1 and 1.0 are.
    """

    __slots__ = ("one",)

    def __init__(self, one: object) -> None:
        self.one = one

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.one is self.one

    __hash__ = None  # type: ignore[assignment]  # what something is made of is compared, and no name


class Memo(Generic[V]):
    """Of each name, what was made last and what it was made of. Of the process, and none the wiser for what others do:
    whatever the value depends on must be in the name, or in what it is made of.

    Values are not None, and nobody changes one.

    Args:
        most: How many names are held; the one whose value was made longest ago goes first.
    """

    def __init__(self, most: int = 512) -> None:
        self.most = most
        self._held: dict[Hashable, tuple[tuple[object, ...], V]] = {}
        self._lock = threading.Lock()
        _all.add(self)

    def find(self, name: Hashable, made_of: tuple[object, ...]) -> V | None:
        """Return the value of a name, or None where there is none, or it was made of something else."""
        held = self._held.get(name)
        return held[1] if held is not None and held[0] == made_of else None

    def keep(self, name: Hashable, made_of: tuple[object, ...], made: V) -> V:
        """Hold a value; returns it."""
        with self._lock:
            self._held.pop(name, None)
            self._held[name] = made_of, made
            while len(self._held) > self.most:
                del self._held[next(iter(self._held))]
        return made

    def get(self, name: Hashable, made_of: tuple[object, ...], make: Callable[[], V]) -> V:
        """Return the value of a name; make it where there is none, or it was made of something else."""
        found = self.find(name, made_of)
        return found if found is not None else self.keep(name, made_of, make())

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._held.clear()

    def __len__(self) -> int:
        return len(self._held)


def _forget(**_given: object) -> None:
    """A setting of the project has changed: in a test."""
    for memo in _all:
        memo.clear()


setting_changed.connect(_forget, dispatch_uid="kck_flow.memo")
