"""Records as Parquet, with pyarrow: a column of each type, compressed, read by whatever reads tables.

Source: https://parquet.apache.org/docs/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from .tables import Row, plain

ROWS = 10_000  # of a row group, which is what is held in memory


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write records, a group of rows after the other.

    Values are of any type, and a column of one: ``value`` is JSON, as the export to JSON has it; ``number`` is the same
    as a double where it is a number, for whoever computes.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    import pyarrow  # an extra, and heavy: for this alone
    from pyarrow import parquet

    instant = pyarrow.timestamp("us", tz="UTC")
    schema = pyarrow.schema(
        [
            pyarrow.field("key", pyarrow.string(), nullable=False),
            pyarrow.field("start_at", instant, nullable=False),
            ("end_at", instant),
            ("facet", pyarrow.string()),
            ("facet_value", pyarrow.string()),
            ("value", pyarrow.string()),
            ("number", pyarrow.float64()),
            ("complete", pyarrow.bool_()),
            ("revision", pyarrow.int32()),
            ("version", pyarrow.int64()),
            ("primer_version", pyarrow.int64()),
            ("written_at", instant),
        ]
    )
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(pyarrow.Table.from_pylist([_typed(row) for row in group], schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while group := list(islice(left, ROWS)):
        yield group


def _typed(row: Row) -> dict[str, Any]:
    value = row["value"]
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    return {
        **row,
        "facet_value": _json(row["facet_value"]),
        "value": _json(value),
        "number": float(value) if is_number else None,
    }


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(plain(value), ensure_ascii=False)
