"""What a read returns: the entry of a product, a point of its history, a change of its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

State = Literal["fresh", "stale", "computing", "failed", "empty"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A product as it was read.

    Attributes:
        key: Canonical key.
        value: The product; None is a value. When ``state`` is ``empty`` there is none.
        version: Grows by one per accepted change; 0 when never stored.
        computed_at: When it was computed or set (aware), or None.
        soft_expires_at: From when a new value is wanted, or None for never.
        hard_expires_at: From when it must not be served, or None for never.
        state: ``fresh``, ``stale`` (served, a refresh is wanted), ``computing`` (served, one is under way),
            ``failed`` (served although the last refresh failed) or ``empty``.
        age: Time since ``computed_at`` at the moment of the read, or None.
        gaps: Of a flow: when transitions were missed within the window (or in all), as (beginning, end) each; the end
            is None while it lasts. What it counted then is too little, for good.
    """

    key: str
    value: Any
    version: int
    computed_at: datetime | None
    soft_expires_at: datetime | None
    hard_expires_at: datetime | None
    state: State
    age: timedelta | None
    gaps: tuple[tuple[datetime, datetime | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series: ``value`` over ``[start, end)``, None where nothing was recorded (a gap is not a
    zero).

    Attributes:
        complete: Whether nothing more can come to it; of a flow, also whether it is known to have missed nothing.
        generation: Of a stock, the definition that it was counted by, or None. Where it differs from that of the point
            before, the series breaks: what is counted is not what was.
    """

    start: datetime
    end: datetime
    value: Any
    complete: bool
    generation: int | None = None


class Row(Mapping[str, Any]):
    """Some columns of one row at one moment: attributes or items, read-only, no relations, no queries."""

    __slots__ = ("_columns",)

    def __init__(self, columns: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_columns", dict(columns))

    def __getattr__(self, name: str) -> Any:
        try:
            return self._columns[name]
        except KeyError:
            raise AttributeError(
                f"The row has no column {name!r}; it has: {', '.join(self._columns)}. "
                "Name what you need in the fields=[...] of the On or the stream."
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"A row that was read cannot be changed (column {name!r}).")

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{name}={value!r}' for name, value in self._columns.items())})"


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one row or product.

    Attributes:
        id: Unique; the same change delivered twice has the same id.
        source: ``"app_label.Model"`` of a row, the key base of a product.
        key: The product's key when the source is a product, else None.
        old, new: What it was and is: a ``Row`` for a row, the value for a product; None for "was not" and "is
            not".
        at: When (aware).
    """

    id: str
    source: str
    key: str | None
    old: Any
    new: Any
    at: datetime
