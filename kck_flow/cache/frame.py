"""Where we are: the product being computed, what it has read, and the hints of its refresh tree.

A context variable, so that nothing leaks between threads, requests or tasks; a tree begins with the outermost
compute and its hints end with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ..entry import Entry
from ..errors import CycleError
from ..key import Key
from ..store.session import Session

# A tree that reads more than this keeps no further hints: memory stays bounded, reads stay right.
HINTS_LIMIT = 10_000
# Asks on a session whether a counted key holds something else than when it was read.
Moved = Callable[[Session], bool]


@dataclass(frozen=True, slots=True)
class Hint:
    """What a refresh tree knows of a product: its value as text and its entry, or (``entry`` None) that it is
    unset.
    """

    at: float
    entry: Entry | None
    text: str | None
    epoch: int = 0


class Hints:
    """What one refresh tree already knows; of two tellings about a product the newest holds."""

    def __init__(self) -> None:
        self._known: dict[UUID, Hint] = {}

    def set(self, key: Key, entry: Entry, text: str | None, at: float, epoch: int = 0) -> None:
        """Remember a value known at ``at`` (POSIX seconds)."""
        self._tell(key.digest, Hint(at, entry, text, epoch))

    def deleted(self, key: Key, at: float) -> None:
        """Remember that a product was unset at ``at``."""
        self._tell(key.digest, Hint(at, None, None))

    def forget(self, key: Key) -> None:
        """Know nothing of a product any more."""
        self._known.pop(key.digest, None)

    def get(self, key: Key) -> Hint | None:
        """Return what is known of a product, or None."""
        return self._known.get(key.digest)

    def _tell(self, digest: UUID, hint: Hint) -> None:
        known = self._known.get(digest)
        if known is not None and known.at > hint.at:
            return
        if known is None and len(self._known) >= HINTS_LIMIT:
            return
        self._known[digest] = hint

    def __len__(self) -> int:
        return len(self._known)


@dataclass
class Frame:
    """One product under computation.

    Attributes:
        reads: Upstream products read so far, with (version, epoch) as read; version 0 where nothing was there, None for
            one that has no version.
        counted: Of keys of stocks and flows read so far: whether they hold something else by now.
        inline: Whether it is computed on the caller's connection and not stored; nested reads are then too.
        snapshot: Whether it is computed inside a snapshot of its own (augmented products).
    """

    key: Key
    above: Frame | None
    hints: Hints
    inline: bool = False
    snapshot: bool = False
    reads: dict[Key, tuple[int | None, int]] = field(default_factory=dict)
    counted: dict[Key, Moved] = field(default_factory=dict)
    progress: Any = None

    def path(self) -> list[str]:
        """Return the keys from the outermost compute to this one."""
        return [*(self.above.path() if self.above else []), str(self.key)]

    def refuse(self, key: Key) -> None:
        """Raise CycleError, with the path, if ``key`` is being computed here or above.

        Also where an old value of it could be served: what was made from that would wake what it is made from.
        """
        path = self.path()
        if str(key) not in path:
            return
        shown = " → ".join([*path[path.index(str(key)) :], str(key)])
        raise CycleError(
            f"{str(key)!r} needs itself: {shown}. Break the circle in one of these computes.",
            key=key,
            cause=f"CycleError: {shown}",
        )


_frame: ContextVar[Frame | None] = ContextVar("kck_flow_frame", default=None)


def current() -> Frame | None:
    """Return the product being computed here, or None."""
    return _frame.get()


@contextmanager
def enter(key: Key, *, inline: bool = False, snapshot: bool = False) -> Iterator[Frame]:
    """Begin computing ``key`` here.

    Raises:
        CycleError: it is being computed here already; the message shows the path.
    """
    above = _frame.get()
    if above is not None:
        above.refuse(key)
    # A snapshot may be older or newer than what the tree has read: it believes nothing but itself.
    hints = above.hints if above is not None and not snapshot else Hints()
    frame = Frame(key, above, hints, inline or bool(above and above.inline), snapshot)
    token = _frame.set(frame)
    try:
        yield frame
    finally:
        _frame.reset(token)
        if above is not None and frame.inline:
            # It is not stored and has no edges of its own: what it has read, the compute around it depends on.
            for upstream, read in frame.reads.items():
                above.reads.setdefault(upstream, read)
            for upstream, moved in frame.counted.items():
                above.counted.setdefault(upstream, moved)


def note(key: Key, version: int | None, epoch: int = 0) -> None:
    """Remember that the product being computed here has read ``key``."""
    frame = _frame.get()
    if frame is not None:
        # The first version read counts: if a later read saw another, what was made from the first is old.
        frame.reads.setdefault(key, (version, epoch))


def note_counted(key: Key, moved: Moved) -> None:
    """Remember that the product being computed here has read a key of a stock or flow, and how to find out whether that
    has changed: it has no version.
    """
    frame = _frame.get()
    if frame is not None:
        frame.reads.setdefault(key, (None, 0))
        frame.counted.setdefault(key, moved)
