"""Django's own cache framework, kept in the tables of this package: ``cache.get``, ``{% cache %}``, ``cache_page``.

::

    CACHES = {
        "default": {
            "BACKEND": "kck_flow.contrib.django_cache.ProductCache",
            "LOCATION": "pages",  # the key base of its entries
        }
    }

What is set in a transaction is there with its commit, and gone with its rollback. What ``{% cache %}`` and
``get_or_set`` find missing is made by one, whoever else asks meanwhile.

As with every backend of Django's, values are pickled; here they are signed with ``SECRET_KEY`` besides, and what is not
signed by it is a miss. Source: https://docs.djangoproject.com/en/stable/topics/cache/
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core import signing
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import Error as DatabaseErrors
from django.db import transaction

from .. import key as keys
from ..cache.facade import Cache
from ..codec import signed_pickle, unsigned_pickle
from ..conf import conf
from ..errors import VersionMismatch
from ..registry import registry
from ..store import fragments, private
from ..store.session import Session, caller

LOCATION: Final = "django_cache"
SALT: Final = "kck_flow.contrib.django_cache"
FLIGHT_SECONDS: Final = 10.0
# So does Django's ``make_template_fragment_key`` begin.
FRAGMENT: Final = "template.cache."
LONGEST: Final = 100 * 365 * 86_400.0
_PAUSES = (0.005, 0.01, 0.02, 0.05)
_MISSING: Final = object()


class ProductCache(BaseCache):
    """A backend for ``CACHES``.

    Args:
        location: The key base of its entries: two caches with one of them share what they hold.
        params: As of every backend (``TIMEOUT``, ``KEY_PREFIX``, ``VERSION``). Of ``OPTIONS``, ``MAX_ENTRIES`` bounds
            it where given, ``CULL_FREQUENCY`` says how; ``FLIGHT_SECONDS`` (10) is how long one who makes an entry is
            waited for.

    Raises:
        ValueError: ``location`` is no key base.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.base = location or LOCATION
        if not self.base.isidentifier() or self.base in registry.primers:
            raise ValueError(
                f"LOCATION is {location!r}; it is the key base of the entries: a name of letters, digits and _, "
                "and not that of a primer."
            )
        options = {**params, **params.get("OPTIONS", {})}
        self._bounded = any(name in options for name in ("max_entries", "MAX_ENTRIES"))
        self._flight = float(options.get("FLIGHT_SECONDS", FLIGHT_SECONDS))
        self._mine: dict[str, datetime] = {}

    # -- one entry

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Return a value; of a template's fragment that is missing, what another makes of it just now."""
        made = self._key(key, version)
        found = self._read(made)
        if found is _MISSING and key.startswith(FRAGMENT):
            found = self._awaited(made)
        return default if found is _MISSING else found

    def set(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        made = self._key(key, version)
        seconds = self._seconds(timeout)
        if seconds is not None and seconds <= 0:
            fragments.delete(self._session(), [made.digest])
        else:
            self._cull(made)
            self._write(made, value, seconds)
        self._made(made)

    def add(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        made = self._key(key, version)
        seconds = self._seconds(timeout)
        expected = 0
        while self._read(made) is _MISSING:
            if seconds is not None and seconds <= 0:
                return True
            self._cull(made)
            try:
                self._write(made, value, seconds, expected)
            except VersionMismatch as error:
                expected = error.version  # one that has expired; or somebody was faster
            else:
                return True
        return False

    def touch(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return fragments.touch(self._session(), self._key(key, version).digest, self._seconds(timeout))

    def delete(self, key: str, version: int | None = None) -> bool:
        return fragments.delete(self._session(), [self._key(key, version).digest]) > 0

    def has_key(self, key: str, version: int | None = None) -> bool:
        return self._read(self._key(key, version)) is not _MISSING

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> Any:
        """Add to a number, which keeps its time; none is lost where several add at once.

        Raises:
            ValueError: there is no such entry.
        """
        made = self._key(key, version)
        with transaction.atomic(using=self._alias()):
            held = fragments.lock(self._session(), made.digest)
            old: Any = self._decoded(held[0]) if held is not None else _MISSING
            if held is None or old is _MISSING:
                raise ValueError(f"Key {key!r} not found")
            self._write(made, old + delta, held[1])
        return old + delta

    def get_or_set(
        self,
        key: str,
        default: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> Any:
        """Return a value; where it is missing, ``default`` (or what it returns), which one of all who ask makes."""
        made = self._key(key, version)
        found = self._read(made)
        if found is _MISSING:
            found = self._awaited(made)
        if found is not _MISSING:
            return found
        try:
            value = default() if callable(default) else default
            self.add(key, value, timeout=timeout, version=version)
            return self.get(key, value, version=version)
        finally:
            self._made(made)

    async def aget_or_set(
        self,
        key: str,
        default: Any,
        timeout: float | None = DEFAULT_TIMEOUT,  # noqa: ASYNC109  (of the entry; so Django has it)
        version: int | None = None,
    ) -> Any:
        """As ``get_or_set``, in a thread: one makes it, and the others wait without holding up the loop."""
        ask = sync_to_async(self.get_or_set, thread_sensitive=True)
        return await ask(key, default, timeout=timeout, version=version)

    # -- several

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        made = {key: self._key(key, version) for key in keys}
        stored = fragments.read(self._session(), [one.digest for one in made.values()])
        found = {
            key: self._decoded(stored[str(one.digest)])
            for key, one in made.items()
            if str(one.digest) in stored
        }
        return {key: value for key, value in found.items() if value is not _MISSING}

    def set_many(
        self,
        data: Mapping[str, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        with transaction.atomic(using=self._alias()):
            for key in sorted(data):  # in one order: two who set the same ones do not wait for each other
                self.set(key, data[key], timeout=timeout, version=version)
        return []

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        fragments.delete(self._session(), [self._key(key, version).digest for key in keys])

    def clear(self) -> None:
        fragments.clear(self._session(), self.base)

    def close(self, **_: Any) -> None:
        """End what this thread has begun to make and has not: called at the end of each request."""
        for text in list(self._mine):
            self._let_go(text)

    # -- how it is stored

    def _alias(self) -> str:
        return str(conf.DATABASES[0])

    def _session(self) -> Session:
        return caller(self._alias())

    def _key(self, key: str, version: int | None) -> keys.Key:
        made = self.make_and_validate_key(key, version=version)
        return keys.general(f"{self.base}/{keys.escape(made)}")

    def _seconds(self, timeout: Any) -> float | None:
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return None if timeout is None or timeout > LONGEST else float(timeout)

    def _read(self, made: keys.Key) -> Any:
        stored = fragments.read(self._session(), [made.digest])
        return self._decoded(stored[str(made.digest)]) if stored else _MISSING

    def _decoded(self, stored: str) -> Any:
        try:
            return unsigned_pickle(json.loads(stored), SALT)
        except signing.BadSignature:
            return _MISSING  # by another SECRET_KEY

    def _write(self, made: keys.Key, value: Any, seconds: float | None, expected: int | None = None) -> None:
        text = signed_pickle(value, SALT)
        lives = timedelta(seconds=seconds) if seconds is not None else None
        Cache.get_instance().set(str(made), text, check_version=expected, hard_expire=lives, soft_expire=None)

    def _cull(self, made: keys.Key) -> None:
        if self._bounded:
            fragments.cull(self._session(), self.base, made.digest, self._max_entries, self._cull_frequency)

    # -- one makes what is missing, the others wait

    def _awaited(self, made: keys.Key) -> Any:
        """Return the value that another makes; or nothing, and then it is for the caller to make it."""
        alias = self._alias()
        if private.in_test_case() or str(made) in self._mine:
            return _MISSING
        until = time.monotonic() + self._flight
        turn = 0
        while True:
            # Only who sees nobody at it writes: the others wait by reading.
            if not fragments.is_made(self._session(), made.digest):
                try:
                    with private.session(alias) as session:
                        mine = fragments.begin(session, made.digest, self._flight)
                except (DatabaseErrors, private.Busy):
                    return _MISSING
                if mine is not None:
                    self._mine[str(made)] = mine
                    found = self._read(made)
                    if found is not _MISSING:  # it was made between our look and our turn
                        self._let_go(str(made))
                    return found
            found = self._read(made)
            if found is not _MISSING or time.monotonic() >= until:
                return found
            time.sleep(_PAUSES[min(turn, len(_PAUSES) - 1)])
            turn += 1

    def _made(self, made: keys.Key) -> None:
        if str(made) in self._mine:
            # Seen by others with the commit, and not before.
            transaction.on_commit(lambda: self._let_go(str(made)), using=self._alias(), robust=True)

    def _let_go(self, text: str) -> None:
        until = self._mine.pop(text, None)
        if until is None:
            return
        try:
            with private.session(self._alias()) as session:
                fragments.end(session, keys.digest(text), until)
        except (DatabaseErrors, private.Busy):
            return  # its time will be over
