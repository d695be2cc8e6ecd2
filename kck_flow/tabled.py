"""A value becomes a table: the rows of its CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def rows_of(value: Any, columns: Sequence[str] | None = None) -> Iterator[Sequence[Any]]:
    """Yield the rows of a value, the header first.

    Args:
        columns: Names of the columns, where they are declared: of a list of dicts, those that are shown; of other
            things, what their columns are called.

    Returns:
        Of a list of dicts, a row each, under the keys that any of them has; of a list of lists, a row each, without a
        header unless there are ``columns``; of another list, a row each in one column, ``value``; of a dict, ``key``
        and ``value``; of a scalar, its one cell and nothing else.
    """
    if isinstance(value, Mapping):
        yield columns or ("key", "value")
        yield from value.items()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from _of_list(list(value), columns)
    else:
        if columns:
            yield columns
        yield (value,)


def _of_list(rows: Sequence[Any], columns: Sequence[str] | None) -> Iterator[Sequence[Any]]:
    if rows and all(isinstance(row, Mapping) for row in rows):
        names = list(columns or _names(rows))
        yield names
        for row in rows:
            yield [row.get(name) for name in names]
    elif rows and all(isinstance(row, (list, tuple)) for row in rows):
        if columns:
            yield columns
        yield from rows
    else:
        yield columns or ("value",)
        for row in rows:
            yield (row,)


def _names(rows: Iterable[Mapping[Any, Any]]) -> list[Any]:
    names: dict[Any, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return list(names)
