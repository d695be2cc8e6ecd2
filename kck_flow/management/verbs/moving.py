"""``dump`` and ``load``: products carried to a file and back, with versions, instants, edges and records.

A file is lines of JSON: a head that says what it is, a line for each product, edge and record, and a tail that says how
many there were, so that half a file is known for one.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from django.core.management import CommandError
from django.db import DatabaseError, transaction

from ... import __version__, clock, spread
from ... import key as keys
from ...errors import KckFlowError
from ...primer import Primer
from ...registry import registry
from ...store import copies, private
from ...store.refreshes import instant
from ...store.session import Session, caller
from .. import words
from ..arguments import Options, Verb, add_database, add_product, aliases, failed, usage
from ..console import DONE, Console

FORMAT = 1
BATCH = 500
# What the lines of each kind must have; a missing name is a broken file, an unknown one is from a newer version.
NEEDED = {
    "product": {
        "key",
        "key_base",
        "params",
        "value",
        "state",
        "version",
        "primer_version",
        "computed_at",
        "soft_expires_at",
        "hard_expires_at",
    },
    "record": {"key", "key_base", "start_at", "value", "revision", "version", "written_at"},
    "edge": {"upstream_key", "downstream_key", "mode"},
}


# -- dump -------------------------------------------------------------------------------------------------------------


def dump(
    alias: str, out: IO[str], product: str | None = None, told: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Write the products of a database, or of one family, to ``out``, all as one instant saw them.

    Args:
        told: Called with (lines written, lines there will be).

    Returns:
        How many ``products``, ``edges`` and ``records`` were written.
    """
    session = caller(alias)
    bases = (
        list(registry.primers[product].key_base_list)
        if product in registry.primers
        else [product]
        if product
        else None
    )
    with transaction.atomic(using=alias):
        if not private.in_test_case():
            session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        products, records, edges = copies.counts(session, bases)
        counts = {"products": products, "edges": edges, "records": records}
        total = sum(counts.values())
        head = {
            "kck_flow_dump": FORMAT,
            "version": __version__,
            "dumped_at": clock.now().isoformat(),
            **counts,
        }
        out.write(json.dumps(head) + "\n")
        written = 0
        for lines in (
            copies.products(session, bases),
            copies.edges(session, bases),
            copies.records(session, bases),
        ):
            for line in lines:
                out.write(line + "\n")
                written += 1
                if told is not None:
                    told(written, total)
        out.write(json.dumps({"t": "end", **counts}) + "\n")
    return counts


def _add_dump(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="Where to; compressed where it ends in .gz. A single - is stdout."
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace a file that is there.")
    add_product(parser)
    add_database(parser)


def _dump(console: Console, options: Options) -> int:
    found = aliases(options)
    if len(found) > 1:
        raise usage(f"A dump is of one database. Say which: --database {' or --database '.join(found)}")
    product = options["product"]
    if product and product not in registry.primers:
        from .products import _stored_family

        _stored_family(product, options)
    progress = None

    def told(done: int, total: int) -> None:
        nonlocal progress
        if progress is None:
            progress = console.progress(total, "lines")
        progress.step()

    try:
        if options["file"] == "-":
            counts = dump(found[0], console._raw, product, told)
        else:
            path = Path(options["file"])
            if path.exists() and not options["overwrite"]:
                raise failed(f"{path} exists; nothing was written. Replace it: --overwrite")
            with _whole(path) as out:
                counts = dump(found[0], out, product, told)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise failed(f"{options['file']} cannot be written: {error.strerror or error}") from None
    except KeyboardInterrupt:
        console.stderr.write("Interrupted: no file was written. A dump shows one instant, so it begins anew.")
        raise
    finally:
        if progress is not None:
            progress.clear()
    console.note(
        f"dumped {_counted(counts)} to {options['file']}. Back: manage.py kck load {options['file']}"
    )
    return DONE


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[str]]:
    """Write a text file, compressed where its name ends in .gz: there is a whole one, or none."""
    with (
        _whole_path(path) as name,
        gzip.open(name, "wt", encoding="utf-8")
        if path.suffix == ".gz"
        else open(name, "w", encoding="utf-8") as out,
    ):
        yield out


@contextlib.contextmanager
def _whole_path(path: Path) -> Iterator[Path]:
    """Have a file written under another name first: under its own there is a whole one, or none."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent or ".")
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(words.count(counts[name], name.rstrip("s")) for name in ("products", "records", "edges"))


# -- load -------------------------------------------------------------------------------------------------------------


@dataclass
class Loaded:
    """What came of a load.

    Attributes:
        restored, kept: Products put back; products that stayed since what stands there is as new or newer.
        records, edges: How many were put back.
        unsure: Augmented products: put back, but computed afresh before they are served.
        strangers: Products whose key no primer here declares, or declares otherwise.
    """

    restored: int = 0
    kept: int = 0
    records: int = 0
    edges: int = 0
    unsure: int = 0
    strangers: Counter[str] = field(default_factory=Counter)


class BadDump(KckFlowError, ValueError):
    """A file is no dump, or half of one, or one of a newer version: says what is wrong, and in which line."""


def read_head(lines: Iterator[str]) -> dict[str, Any]:
    """Return a dump's head. Raises BadDump."""
    try:
        head = json.loads(next(lines, ""))
    except json.JSONDecodeError:
        head = None
    if not isinstance(head, dict) or "kck_flow_dump" not in head:
        raise BadDump("This is no dump: its first line does not say so. Make one: manage.py kck dump FILE")
    if not isinstance(head["kck_flow_dump"], int) or head["kck_flow_dump"] > FORMAT:
        raise BadDump(
            f"This dump has format {head['kck_flow_dump']}, made by kck_flow {head.get('version', '?')}; "
            f"kck_flow {__version__} reads up "
            f"to {FORMAT}. Upgrade kck_flow, or make the dump with the older one."
        )
    return head


def parse(lines: Iterator[str]) -> Iterator[tuple[int, str, dict[str, Any], str]]:
    """Yield (line number, kind, the line read, its text) after a dump's head, and end at its tail.

    Raises:
        BadDump: A line is broken, lacks something or is of no known kind; the tail is missing or counts otherwise.
    """
    seen: Counter[str] = Counter()
    for number, text in enumerate(lines, 2):
        try:
            line = json.loads(text)
            kind = line["t"]
        except (json.JSONDecodeError, KeyError, TypeError):
            raise BadDump(f"Line {number} is broken: {words.printable(text[:60])!r}…") from None
        if kind == "end":
            told = {name: line.get(name) for name in ("products", "edges", "records")}
            have = {"products": seen["product"], "edges": seen["edge"], "records": seen["record"]}
            if told != have:
                raise BadDump(
                    f"Line {number} says that there were {told}, and there are {have}: lines are missing."
                )
            return
        if kind not in NEEDED:
            raise BadDump(f"Line {number} is of the kind {kind!r}, which this version does not know.")
        lacking = NEEDED[kind] - line.keys()
        if lacking:
            raise BadDump(f"Line {number} lacks {', '.join(sorted(lacking))}.")
        seen[kind] += 1
        yield number, kind, line, text
    raise BadDump(f"The file ends after line {sum(seen.values()) + 1} without its tail: it was cut off.")


def load(
    alias: str,
    lines: Iterator[str],
    *,
    overwrite: bool = False,
    stale: bool = False,
    told: Callable[[int], None] | None = None,
) -> Loaded:
    """Put the products of a dump back, a batch a transaction: each batch wholly or not at all.

    What stands there and was computed later stays. What is replaced gets a higher version, and what was made from it
    becomes stale. A product whose primer augments it is computed afresh before it is served: the changes made since the
    dump are not in the file.

    Args:
        lines: The file's, its head included.
        overwrite: Put older values over newer ones, too.
        stale: Serve what is put back, but want it anew.
        told: Called with how many lines were done.

    Raises:
        BadDump: The line is named; batches before it are stored.
    """
    session, done = caller(alias), Loaded()
    read_head(lines)
    batch: list[tuple[int, str, dict[str, Any], str]] = []
    for row in parse(lines):
        if batch and (len(batch) >= BATCH or row[1] != batch[0][1]):
            _put_back(session, batch, done, overwrite, stale)
            if told is not None:
                told(len(batch))
            batch = []
        batch.append(row)
    if batch:
        _put_back(session, batch, done, overwrite, stale)
        if told is not None:
            told(len(batch))
    return done


def _put_back(
    session: Session,
    batch: list[tuple[int, str, dict[str, Any], str]],
    done: Loaded,
    overwrite: bool,
    stale: bool,
) -> None:
    kind, texts = batch[0][1], [text for *_, text in batch]
    first, last = batch[0][0], batch[-1][0]
    try:
        with session.transaction():
            if kind == "record":
                done.records += copies.restore_records(
                    session, [keys.digest(line["key"]) for _, _, line, _ in batch], texts
                )
            elif kind == "edge":
                upstreams = [keys.digest(line["upstream_key"]) for _, _, line, _ in batch]
                downstreams = [keys.digest(line["downstream_key"]) for _, _, line, _ in batch]
                done.edges += copies.restore_edges(session, upstreams, downstreams, texts)
            else:
                _put_products_back(
                    session, [(line, text) for _, _, line, text in batch], done, overwrite, stale
                )
    except DatabaseError as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadDump(f"Lines {first} to {last} cannot be stored: {text}. Lines before them are.") from error


def _put_products_back(
    session: Session, batch: list[tuple[dict[str, Any], str]], done: Loaded, overwrite: bool, stale: bool
) -> None:
    by_key = {line["key"]: (line, text) for line, text in batch}
    digests = [keys.digest(key) for key in by_key]
    primers = {key: registry.primers.get(line["key_base"]) for key, (line, _) in by_key.items()}
    unsure = [primer is not None and primer.augments for primer in primers.values()]
    held = copies.held(session, digests)
    restored = copies.restore_products(
        session, digests, [text for _, text in by_key.values()], unsure, overwrite=overwrite, stale=stale
    )
    for one in restored:
        line, primer = by_key[one.key][0], primers[one.key]
        before = held.get(keys.digest(one.key))
        done.unsure += primer is not None and primer.augments
        if primer is None:
            done.strangers[line["key_base"]] += 1
        if before is not None and before.state != "unset":
            _tell(session, primer, one, before, line)
    done.restored += len(restored)
    done.kept += len(by_key) - len(restored)


def _tell(
    session: Session, primer: Primer | None, one: copies.Restored, before: copies.Held, line: dict[str, Any]
) -> None:
    """Mark what was made from a product that another value now stands in for."""
    codec = primer.codec if primer is not None else Primer.codec
    try:
        key = registry.key(one.key)
    except KckFlowError:
        return  # stored under older parameters: nothing declared hangs on it
    old = codec.decode(before.value) if before.value is not None else None
    new = codec.decode(json.dumps(line["value"])) if line["value"] is not None else None
    at = instant(clock.now().timestamp())
    assert at is not None
    spread.from_product(
        session, key, version=one.version, old=old, new=new, at=at, reason=f"{one.key} loaded"
    )


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="What dump has written; a single - reads stdin.")
    parser.add_argument("--overwrite", action="store_true", help="Put older values over newer ones, too.")
    parser.add_argument("--stale", action="store_true", help="Serve what is put back, but have it refreshed.")
    add_database(parser)


def _load(console: Console, options: Options) -> int:
    found = aliases(options)
    if len(found) > 1:
        raise usage(f"A load is into one database. Say which: --database {' or --database '.join(found)}")
    total: int | None = None
    path = options["file"]
    try:
        if path != "-":
            # The whole file first: a broken line is known before anything is stored.
            with _opened(path) as lines:
                read_head(lines)
                total = sum(1 for _ in parse(lines))
        with _opened(path) as lines, console.progress(total, "lines") as progress:
            done = load(
                found[0],
                lines,
                overwrite=options["overwrite"],
                stale=options["stale"],
                told=lambda count: progress.step(by=count),
            )
    except BadDump as error:
        stored = "" if path == "-" or total is not None else " Nothing was stored."
        raise CommandError(f"{path}: {error}{stored}", returncode=1) from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise failed(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except KeyboardInterrupt:
        console.stderr.write(
            f"Interrupted: whole batches are stored. To go on: manage.py kck load {path} (what is there is left alone)"
        )
        raise
    console.note(
        f"loaded {words.count(done.restored, 'product')}, {words.count(done.records, 'record')}, "
        f"{words.count(done.edges, 'edge')}"
        f"{f'; left {done.kept:,} that are as new or newer' if done.kept else ''}."
    )
    if done.unsure:
        console.note(
            f"{words.count(done.unsure, 'augmented product')} will be computed afresh: changes made since "
            "the dump are not in it."
        )
    for base, count in done.strangers.most_common(5):
        console.note(
            f"{words.count(count, 'product')} of {base!r}, which no primer declares here: kept as set by hand.",
            level=2,
        )
    return DONE


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Iterator[str]]:
    if path == "-":
        yield (line for line in sys.stdin if line.strip())
        return
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.endswith(".gz")
        else open(path, encoding="utf-8") as lines
    ):
        yield (line for line in lines if line.strip())


VERBS = (
    Verb(
        "dump",
        "Write products to a file: values, versions, times, expiries, edges, records.",
        _add_dump,
        _dump,
    ),
    Verb("load", "Put the products of a dump back.", _add_load, _load),
)
