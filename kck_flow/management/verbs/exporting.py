"""``export``: records for other programs, as CSV, JSON or Parquet. What is to come back: ``dump``, ``load``."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.db import transaction

from ...codec import JSON
from ...dashboards.faces import cell
from ...primer import Primer
from ...registry import registry
from ...store import copies, private
from ...store.session import Session
from .. import parquet, tables, words
from ..arguments import Options, Verb, add_database, any_key, failed, sessions, usage
from ..console import DONE, Console
from ..tables import Row
from .moving import _whole, _whole_path
from .products import _stored_family

NAMES = (
    "key", "start_at", "end_at", "facet", "facet_value", "value", "complete", "revision", "version", "primer_version",
    "written_at",
)  # fmt: skip
ENDINGS = {".csv": "csv", ".json": "json", ".parquet": "parquet"}


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help="Families (key bases) or keys, as title_list/5; all that has records where not given.",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="FILE", default="-",
        help="Where to; compressed where it ends in .gz. Stdout where not given.",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="Replace a file that is there.")
    parser.add_argument(
        "--format", choices=("csv", "json", "parquet"),
        help="csv, json or parquet; as the file's name ends where not given, and csv else.",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="start", type=words.aware, metavar="INSTANT",
        help="Records that begin from then on.",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="end", type=words.aware, metavar="INSTANT", help="Records that begin before."
    )
    parser.add_argument(
        "--revisions",
        action="store_true",
        help="Corrected records too, not only what they were corrected to.",
    )
    add_database(parser)


def _export(console: Console, options: Options) -> int:
    start, end = options["start"], options["end"]
    if start is not None and end is not None and start >= end:
        raise usage(f"--from {start.isoformat()} is not before --to {end.isoformat()}. Exchange them.")
    bases, digests = _asked(options)
    path = None if options["output"] == "-" else Path(options["output"])
    format = options["format"] or _format_of(path)
    if path is not None and path.exists() and not options["overwrite"]:
        raise failed(f"{path} exists; nothing was written. Replace it: --overwrite")
    if format == "parquet":
        _check_parquet(path)
    written = 0

    def rows() -> Iterator[Row]:
        nonlocal written
        with console.progress(None, "records") as progress:
            for session in sessions(options):
                with _one_instant(session):
                    for record in copies.exported(
                        session, bases, digests, start=start, end=end, revisions=options["revisions"]
                    ):
                        written += 1
                        # A line that is redrawn would stand in the middle of what is written to the same terminal.
                        if path is not None:
                            progress.step()
                        yield _row(record)

    try:
        if path is None:
            _write(console._raw, format, rows())
        elif format == "parquet":
            with _whole_path(path) as name:
                parquet.write(name, rows())
        else:
            with _whole(path) as out:
                _write(out, format, rows())
    except KeyboardInterrupt:
        told = "no file was written" if path is not None else "what was written is a part"
        console.stderr.write(f"Interrupted: {told}. An export shows one instant, so it begins anew.")
        raise
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise failed(f"{options['output']} cannot be written: {error.strerror or error}") from None
    where = "" if path is None else f" to {path}"
    console.note(f"exported {words.count(written, 'record')}{where}.")
    if not written:
        console.note(
            "Records are kept by what says keep_history, and by metrics, stocks and topics that are recorded."
        )
    return DONE


def _asked(options: Options) -> tuple[list[str] | None, list[UUID] | None]:
    """Return the families and, where single keys were named, the digests. Raises CommandError."""
    names: list[str] = options["names"]
    if not names:
        return None, None
    single = [name for name in names if "/" in name]
    if single and len(single) < len(names):
        raise usage(
            f"Families and keys are not mixed: {single[0]!r} is a key. Export them one after the other."
        )
    if single:
        keys = [any_key(name) for name in single]
        for key in keys:
            _stored_family(key.key_base, options)
        return sorted({key.key_base for key in keys}), [key.digest for key in keys]
    bases: set[str] = set()
    for name in names:
        _stored_family(name, options)
        bases |= set(registry.primers[name].key_base_list) if name in registry.primers else {name}
    return sorted(bases), None


def _check_parquet(path: Path | None) -> None:
    """Raise CommandError where Parquet cannot be written."""
    if path is None:
        raise usage("Parquet is no text: name a file with --output, such as --output records.parquet.")
    if path.suffix == ".gz":
        raise usage(f"Parquet is compressed by itself: leave .gz out of {path.name}.")
    if find_spec("pyarrow") is None:
        raise failed("Parquet needs pyarrow: pip install 'kck-flow[parquet]'")


def _format_of(path: Path | None) -> str:
    if path is None:
        return "csv"
    name = path.name.removesuffix(".gz")
    return ENDINGS.get(Path(name).suffix.lower(), "csv")


@contextmanager
def _one_instant(session: Session) -> Iterator[None]:
    """A context in which all pages are of one snapshot."""
    with transaction.atomic(using=session.alias):
        if not private.in_test_case():
            session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _row(record: copies.Exported) -> Row:
    return {
        "key": record.key,
        "start_at": record.start_at,
        "end_at": record.end_at,
        "facet": record.facet or None,
        "facet_value": json.loads(record.facet_value) if record.facet_value is not None else None,
        "value": _value(record),
        "complete": record.complete,
        "revision": record.revision,
        "version": record.version,
        "primer_version": record.primer_version,
        "written_at": record.written_at,
    }


def _value(record: copies.Exported) -> Any:
    if record.value is None:
        return None
    primer: Primer | None = registry.primers.get(record.key_base)
    codec = primer.codec if primer is not None else JSON
    try:
        return codec.decode(record.value)
    except Exception:  # of an older codec: as it is stored
        return json.loads(record.value)


def _write(out: IO[str], format: str, rows: Iterable[Row]) -> None:
    if format == "json":
        tables.write_json(out, rows)
        return
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(NAMES)
    for row in rows:
        # As the pages' CSV has it: what a spreadsheet would run is escaped, numbers are left as they are.
        writer.writerow([cell(row[name]) for name in NAMES])


VERBS = (
    Verb(
        "export",
        "Write records as CSV, JSON or Parquet, for other programs.",
        _add_export,
        _export,
        more="A key's history of March: kck export title_list/5 --from 2026-03-01 --to 2026-04-01",
    ),
)
