"""Listings: the same rows as a table for people, as JSON or as CSV for programs.

A row is a dict. Programs get all of it: instants as ISO 8601, durations in seconds, what is missing as null or an empty
cell. People get the columns, each said by its ``show``.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any

from ..codec import encode_plain
from . import words

FORMATS = ("table", "json", "csv")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        header: What stands on top.
        show: From the row to the cell's text; the row's value of that name where not given.
        right: Whether it is a number, and stands to the right.
        stretch: Whether it is the one that is cut where the terminal is too narrow.
    """

    header: str
    show: Callable[[Row], str]
    right: bool = False
    stretch: bool = False


def width_of(text: str) -> int:
    """Return how many cells of a terminal a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def lines(columns: Sequence[Column], rows: Sequence[Row], *, width: int | None = None) -> Iterator[str]:
    """Yield a table's lines, headers first; ``width`` (cells) bounds them by cutting the stretching column."""
    cells = [[words.printable(column.show(row)) for column in columns] for row in rows]
    widths = [
        max([width_of(column.header), *(width_of(line[i]) for line in cells)])
        for i, column in enumerate(columns)
    ]
    if width is not None:
        over = sum(widths) + 2 * (len(widths) - 1) - width
        for i, column in enumerate(columns):
            if column.stretch and over > 0:
                cut = max(widths[i] - over, 12)
                over -= widths[i] - cut
                widths[i] = cut
                for line in cells:
                    line[i] = words.clipped(line[i], cut)
    for line in [[column.header for column in columns], *cells]:
        parts = []
        for cell, wide, column in zip(line, widths, columns, strict=True):
            room = " " * (wide - width_of(cell))
            parts.append(room + cell if column.right else cell + room)
        yield "  ".join(parts).rstrip()


def plain(value: Any) -> Any:
    """Return a value as JSON has it: instants in ISO 8601, durations in seconds, the rest as people read it."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if (isinstance(value, str) and value.isascii()) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return json.loads(encode_plain(value))


def as_json(row: Row) -> str:
    """Return a row as JSON, in its own order."""
    return json.dumps({name: plain(value) for name, value in row.items()}, ensure_ascii=False)


def write_json(out: IO[str], rows: Iterable[Row]) -> None:
    """Write a list of objects, one a line, as they come."""
    before = "[\n"
    for row in rows:
        out.write(f"{before}{as_json(row)}")
        before = ",\n"
    out.write("[]\n" if before == "[\n" else "\n]\n")


def write_csv(out: IO[str], names: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a header and a line for each row; lists and dicts as JSON, nothing as an empty cell."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])


def _cell(value: Any) -> Any:
    found = plain(value)
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, (dict, list)):
        return json.dumps(found, ensure_ascii=False)
    return found
