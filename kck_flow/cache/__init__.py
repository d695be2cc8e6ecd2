"""READ: get -> hit | stale | miss -> single flight -> compute -> store -> deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .facade import Cache

__all__ = ["Cache"]


def __getattr__(name: str) -> Any:
    if name == "Cache":
        from .facade import Cache

        return Cache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
