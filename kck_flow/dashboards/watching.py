"""Has anything changed that an open page shows? One thread of the process looks, for however many pages are open.

It looks at the products' tokens (``store.tokens``), so it also hears of what SQL or another program has written, and
behind a pooler. A page's visitor is told which of its products have changed, and asks for the page as any reader does.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.db import Error as DatabaseErrors

from .. import spread
from ..cache import counted, flows
from ..conf import conf
from ..errors import KckFlowError
from ..key import Key
from ..registry import registry
from ..store import private, tokens
from ..store.tokens import Token
from ..storing import args_of
from ..timeframe import TimeFrame

logger = logging.getLogger("kck_flow")

# A connection of its own, so that neither readers nor beats wait for the looks.
PURPOSE = "live"
# A look that takes long is followed by a longer pause: at most a fifth of the time is spent with looking.
SHARE = 4
LONGEST_PAUSE = 30.0


@dataclass(eq=False)
class Watch:
    """What one page wants to know.

    Attributes:
        keys: Its products.
        tell: Called from the looking thread with those that have changed, as soon as they have; quick.
    """

    keys: Sequence[Key]
    tell: Callable[[Sequence[Key]], None]
    known: dict[Key, Token] = field(default_factory=dict)


class Watcher:
    """The one thread of a process that looks, while anybody wants to know."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self.looks = 0

    def __len__(self) -> int:
        return len(self._watches)

    def join(self, watch: Watch, most: int) -> bool:
        """Look for one page more; False where there are so many already."""
        with self._changed:
            if len(self._watches) >= most:
                return False
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="kck-live", daemon=True)
                self._thread.start()
            self._changed.notify()
            return True

    def leave(self, watch: Watch) -> None:
        """Look for a page no longer."""
        with self._changed:
            self._watches.discard(watch)

    def _loop(self) -> None:
        failures = 0
        while True:
            with self._changed:
                if not self._watches and not self._changed.wait(conf.PRIVATE_IDLE_SECONDS + 0.1):
                    self._thread = None
                    private.close_idle()
                    return
                watches = list(self._watches)
            if not watches:
                continue
            begun = time.monotonic()
            try:
                found = look(dict.fromkeys(key for watch in watches for key in watch.keys))
                failures = 0
                self.looks += 1
                for watch in watches:
                    _compare(watch, found)
            except (KckFlowError, DatabaseErrors) as error:
                failures += 1
                logger.log(logging.DEBUG if failures > 1 else logging.WARNING, "live.failed error=%r", error)
            except Exception:
                failures += 1
                logger.exception("live.failed")
            took = time.monotonic() - begun
            pause = max(conf.POLL_SECONDS, took * SHARE) * 2 ** min(failures, 10)
            time.sleep(min(pause, LONGEST_PAUSE) * random.uniform(0.9, 1.1))


def _compare(watch: Watch, found: Mapping[Key, Token]) -> None:
    changed = [key for key in watch.keys if key in found and watch.known.get(key) != found[key]]
    if changed:
        watch.known.update((key, found[key]) for key in changed)
        watch.tell(changed)


def look(keys: Iterable[Key]) -> dict[Key, Token]:
    """Return the tokens of products: for each database a statement for what is stored, one for what is counted, one for
    frames.

    Raises:
        private.Busy, django.db.Error: they cannot be had now.
    """
    kinds: dict[str, tuple[list[Key], list[Key], list[Key]]] = {}
    for key in keys:
        primer = registry.primers.get(key.key_base)
        of_kind = kinds.setdefault(spread.alias_of(primer), ([], [], []))
        if isinstance(primer, TimeFrame):
            of_kind[2].append(key)
        elif counted.counted(key) is not None or flows.counted(key) is not None:
            of_kind[1].append(key)
        else:
            of_kind[0].append(key)
    found: dict[Key, Token] = {}
    for alias, (stored, by_triggers, framed) in kinds.items():
        with private.session(alias, PURPOSE) as session:
            if stored:
                asked = [(key.digest, key.key_base) for key in stored]
                found.update(zip(stored, tokens.stored(session, asked), strict=True))
            if by_triggers:
                of_keys = [
                    (key.key_base, args_of(registry.primers.get(key.key_base), key)) for key in by_triggers
                ]
                found.update(zip(by_triggers, tokens.counted(session, of_keys), strict=True))
            if framed:
                bases = list(dict.fromkeys(key.key_base for key in framed))
                of_base = dict(zip(bases, tokens.framed(session, bases), strict=True))
                found.update((key, of_base[key.key_base]) for key in framed)
    return found


def mark(known: Mapping[Key, Token]) -> str:
    """Return where a page's products stand, as one short text: the same in every process, and after a restart."""
    text = "\n".join(f"{key}\t{known[key]}" for key in sorted(known))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_watchers: dict[int, Watcher] = {}


def watcher() -> Watcher:
    """Return the one of this process."""
    return _watchers.setdefault(os.getpid(), Watcher())
