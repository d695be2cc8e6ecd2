"""Every exception of the package.

::

    KckFlowError
    ├── UnknownPrimer (KeyError)        no primer has this name
    ├── InvalidKey (KeyError)           the parts of the key do not fit its primer
    ├── NotPrimed (KeyError)            known, but nothing is stored and nothing may be computed
    ├── ComputeFailed (RuntimeError)    the primer's ``compute`` raised; ``cause`` says what
    │   ├── ComputeTimeout (TimeoutError)   it ran longer than ``compute_limit``
    │   └── CycleError                  a product asked, directly or not, for itself
    ├── WaitTimeout (TimeoutError)      somebody else computes; we waited as long as we were told to
    ├── SomeFailed                      ``get_many``: some keys failed; the good ones are in ``results``
    ├── VersionMismatch                 compare-and-set lost: the product has another version by now
    ├── UnstorableValue (TypeError)     the value cannot be kept by the product's codec
    ├── StoreUnavailable                the database did not answer within the cache's bounds
    │   └── ReadOnlyStore (InternalError)   it is a standby: it can be read, and computes nothing
    ├── HookFailed (RuntimeError)       a hook raised; chained to the original, which keeps its traceback
    └── DeclarationError (ValueError)   a primer, schedule or setting is declared wrongly
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from django.db import InternalError


class KckFlowError(Exception):
    """Base of everything this package raises on purpose."""

    def __str__(self) -> str:
        # KeyError would show repr(message), quotes and all: a sentence must read as one.
        return str(self.args[0]) if self.args else ""


class UnknownPrimer(KckFlowError, KeyError):
    """No primer is registered under the key's base."""


class InvalidKey(KckFlowError, KeyError):
    """The key's parts do not fit what its primer declares: wrong number, type or spelling."""


class NotPrimed(KckFlowError, KeyError):
    """Nothing is stored under the key, and this call may not compute it."""


class ComputeFailed(KckFlowError, RuntimeError):
    """``compute`` raised. ``cause`` is ``"TypeName: message"`` of what it raised, possibly in another
    process.
    """

    def __init__(self, message: str, *, key: str = "", cause: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.cause = cause
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_failure, (type(self), self.args[0], self.key, self.cause, self.traceback)


def _rebuild_failure(kind: type[ComputeFailed], message: str, key: str, cause: str, tb: str) -> ComputeFailed:
    return kind(message, key=key, cause=cause, traceback=tb)


class ComputeTimeout(ComputeFailed, TimeoutError):
    """``compute`` ran longer than the primer's ``compute_limit``; its late result is refused."""


class CycleError(ComputeFailed):
    """A product asked for itself while being computed; the message shows the path."""


class WaitTimeout(KckFlowError, TimeoutError):
    """Nothing could be served and the wait for somebody else's compute is over. The compute goes on."""


class SomeFailed(KckFlowError):
    """Some keys of a ``get_many`` failed.

    Attributes:
        results: dict of key to value, the ones that succeeded, in the order asked.
        errors: dict of key to the exception of each that failed, in the order asked.
    """

    def __init__(self, results: Mapping[str, Any], errors: Mapping[str, BaseException]) -> None:
        self.results = dict(results)
        self.errors = dict(errors)
        first_key, first = next(iter(self.errors.items()))
        super().__init__(
            f"{len(self.errors)} of {len(self.errors) + len(self.results)} products failed; "
            f"the first, {first_key!r}: {str(first).rstrip('.')}. "
            "The good ones are in .results; errors='return' gives both."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.results, self.errors)


class VersionMismatch(KckFlowError):
    """``set(check_version=n)``: the stored version is not n (any more). ``version`` is the stored one."""

    def __init__(self, message: str, *, version: int = 0) -> None:
        super().__init__(message)
        self.version = version

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_mismatch, (self.args[0], self.version)


def _rebuild_mismatch(message: str, version: int) -> VersionMismatch:
    return VersionMismatch(message, version=version)


class UnstorableValue(KckFlowError, TypeError):
    """The value cannot be encoded by the product's codec; what was stored before is untouched."""


class StoreUnavailable(KckFlowError):
    """The database refused, hung or went away, and nothing may be served in its place."""


class ReadOnlyStore(StoreUnavailable, InternalError):
    """The database can be read and not written: it is a standby, or the caller's transaction is read only."""


class HookFailed(KckFlowError, RuntimeError):
    """A hook raised and the primer's ``hook_errors`` says that this aborts. ``__cause__`` is the original."""


class DeclarationError(KckFlowError, ValueError):
    """Something is declared wrongly: says which, what was expected, and what to do."""


def ones_own(error: BaseException) -> BaseException:
    """Return a copy of an exception that several threads are to raise: each lengthens its own traceback."""
    try:
        twin = copy.copy(error)
    except Exception:  # an exception that cannot be rebuilt from its arguments
        return error
    if type(twin) is not type(error) or twin is error:
        return error
    twin.__cause__, twin.__suppress_context__ = error.__cause__, error.__suppress_context__
    return twin.with_traceback(None)
