"""``prune``: delete what nobody needs any more, in batches, and say how much it was."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db.models import CompositePrimaryKey, Model

from ... import clock, event_stream, spread
from ...conf import conf
from ...errors import DeclarationError
from ...primer import Primer
from ...registry import registry
from ...stock import Flow
from ...store import erasing, events, fragments, leftovers, outbox, runs
from ...store import usage as usages
from ...store.erasing import Found
from ...store.session import Session, caller
from ...streams import frames, retention, topics
from ...timeframe import TimeFrame
from ...topic import Topic, paths_of
from .. import words
from ..arguments import (
    Options,
    Verb,
    add_database,
    add_format,
    add_noinput,
    add_product,
    aliases,
    failed,
    family,
    usage,
)
from ..console import DONE, FAILED, Console
from ..tables import Column, Row

NAMES = ("what", "product", "rows", "deleted", "database")
ERASED_NAMES = ("what", "place", "rows", "erased", "waiting", "database")
SOURCE_NAMES = ("source", "product", "needs_from", "why", "cutoff", "rows", "deleted")


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that may be deleted.

    Attributes:
        what: ``expired``, ``above max_entries``, ``unset``, ``windows``, ``frames``, ``records``, ``events``,
            ``messages`` or ``runs``.
        product: The family, or "" for all.
        count: Returns how many rows there are.
        prune: Deletes them; yields how many each batch had.
    """

    what: str
    product: str
    session: Session
    count: Callable[[], int]
    prune: Callable[[], Iterator[int]]


def leftovers_of(
    alias: str, product: str | None = None, *, older_events: float | None = None
) -> Iterator[Leftover]:
    """Yield what may be deleted in a database: of all primers and their runs, or of one family only.

    A product past its hard expiry stays as long as its primer's ``stale_if_error`` may still serve it.

    Args:
        older_events: Seconds after which the events of flows go; None: they stay.
    """
    session = caller(alias)
    primers = [
        primer
        for primer in registry.unique()
        if spread.alias_of(primer) == alias and product in (None, primer.name)
    ]
    graces = {
        base: primer.stale_if_error.total_seconds() for primer in primers for base in primer.key_base_list
    }
    days = float(conf.RUN_RETENTION_DAYS)
    if product is None:
        yield Leftover(
            "expired",
            "",
            session,
            lambda: leftovers.expired(session, graces),
            lambda: leftovers.prune_expired(session, graces),
        )
        yield Leftover(
            "unset",
            "",
            session,
            lambda: leftovers.tombstones(session, days),
            lambda: leftovers.prune_tombstones(session, days),
        )
    for primer in primers:
        for base in primer.key_base_list:
            yield from _of_family(session, primer, base)
            if older_events is not None and isinstance(primer, Flow):
                yield _of_flow(session, base, older_events, waited_for=bool(primer.event_callables))
    if product is None and older_events is not None:
        for base in events.bases(session):
            if not isinstance(registry.primers.get(base), Flow):  # it was taken out
                yield _of_flow(session, base, older_events, waited_for=False)
    if product is None:
        readers = [primer.name for primer in primers if isinstance(primer, Topic)]
        kept = float(conf.MESSAGE_RETENTION_DAYS)
        # Time frames may read what topics have read already.
        may, needed = _needed((alias, outbox.TABLE))
        yield Leftover(
            "messages",
            "",
            session,
            lambda: outbox.old(session, readers, kept, needed) if may else 0,
            lambda: outbox.prune(session, readers, kept, leftovers.BATCH, needed),
        )
    if product is None:
        yield Leftover(
            "runs",
            "",
            session,
            lambda: leftovers.old_runs(session, days),
            lambda: iter([runs.prune(session, days)]),
        )
        yield Leftover(
            "flights",
            "",
            session,
            lambda: fragments.forgotten(session),
            lambda: iter([fragments.forget(session)]),
        )
        yield Leftover(
            "usage",
            "",
            session,
            lambda: usages.old(session, days),
            lambda: iter([usages.prune(session, days)]),
        )


def _of_family(session: Session, primer: Primer, base: str) -> Iterator[Leftover]:
    most, kept = primer.max_entries, primer.retention
    if most is not None:
        yield Leftover(
            "above max_entries",
            base,
            session,
            lambda: leftovers.crowd(session, base, most),
            lambda: leftovers.prune_crowd(session, base, most),
        )
    if kept is not None:
        seconds = kept.total_seconds()
        if isinstance(primer, TimeFrame):
            yield _of_frames(session, primer)
            return
        if isinstance(primer, Topic) and primer.sizes:
            yield _of_topic(session, primer)
        yield Leftover(
            "records",
            base,
            session,
            lambda: leftovers.old_records(session, base, seconds),
            lambda: leftovers.prune_records(session, base, seconds),
        )


def _of_frames(session: Session, primer: TimeFrame) -> Leftover:
    """The frames, with their records, that ended longer ago than the family's ``retention``."""
    return Leftover(
        "frames",
        primer.name,
        session,
        lambda: frames.old(primer, clock.now()),
        lambda: frames.prune(primer, clock.now()),
    )


def _of_topic(session: Session, topic: Topic) -> Leftover:
    """The windows of a topic that ended longer ago than its ``retention``."""
    return Leftover(
        "windows",
        topic.name,
        session,
        lambda: len(topics.outlived(topic)),
        lambda: leftovers.prune_windows(session, [key.digest for key in topics.outlived(topic)]),
    )


def _of_flow(session: Session, base: str, seconds: float, *, waited_for: bool) -> Leftover:
    """The old events of a flow that nobody reads any more. What they counted for was appended with them, and stays."""
    may, needed = _needed(event_stream.origin_of(base))
    return Leftover(
        "events",
        base,
        session,
        lambda: events.old(session, base, seconds, waited_for=waited_for, needed=needed) if may else 0,
        lambda: events.prune(
            session,
            base,
            seconds,
            waited_for=waited_for,
            needed=needed,
            reader=f"stream:{event_stream.stream_name(base)}",
        ),
    )


def _needed(origin: Hashable) -> tuple[bool, datetime | None]:
    """Return (whether anything of a source may go, from when on it is needed)."""
    try:
        verdict = retention.verdict_of(origin, clock.now())
    except DeclarationError:  # told by the checks
        return False, None
    return not verdict.needs or verdict.cutoff is not None, verdict.cutoff


def prune(
    alias: str, product: str | None = None, *, dry_run: bool = False, older_events: float | None = None
) -> Iterator[tuple[Leftover, int, int]]:
    """Delete a database's leftovers, one kind after the other; yields (which, rows found, rows deleted).

    Args:
        older_events: Seconds after which the events of flows go; None: they stay.
    """
    for leftover in leftovers_of(alias, product, older_events=older_events):
        found = leftover.count()
        yield leftover, found, 0 if dry_run or not found else sum(leftover.prune())


def _add_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="Say how much there is; delete nothing.")
    parser.add_argument(
        "--events",
        type=words.seconds,
        metavar="DURATION",
        help="Events of flows that are older, too; what they counted for stays counted.",
    )
    parser.add_argument(
        "--source",
        metavar="NAME",
        help="Instead: what lies in this stream before all that the primers that read it still need.",
    )
    parser.add_argument(
        "--keep",
        type=words.seconds,
        metavar="DURATION",
        help="With --source: what is younger stays, whatever is needed.",
    )
    parser.add_argument(
        "--subject",
        metavar="APP.MODEL:PK",
        help="Instead: take a row's name out of the events of flows, and out of messages; totals stay.",
    )
    add_product(parser, "Only what this primer bounds: max_entries and retention.")
    add_database(parser)
    add_noinput(parser)
    add_format(parser)


def _prune_source(console: Console, options: Options) -> int:
    name, dry = options["source"], options["dry_run"]
    for option in ("product", "events", "database"):
        if options[option]:
            raise usage(f"--source is about a stream alone: leave out --{option}.")
    keep = timedelta(seconds=options["keep"]) if options["keep"] is not None else None
    try:
        stream = retention.named(name)
    except DeclarationError as error:
        raise usage(str(error)) from error
    verdict = retention.verdict_of(stream.origin, clock.now(), keep)
    found = deleted = 0
    if verdict.cutoff is not None:
        try:
            found = retention.countable(stream, verdict.cutoff)
            if found and not dry:
                with console.progress(found, name) as progress:
                    for batch in retention.pruning(stream, verdict.cutoff, keep):
                        deleted += batch
                        progress.step(by=batch)
        except NotImplementedError as error:
            raise failed(str(error)) from error
        except KeyboardInterrupt:
            console.stderr.write(
                f"Interrupted after {deleted:,} items. What is deleted is deleted; to go on: "
                f"manage.py kck prune --source {name}"
            )
            raise
    cutoff = verdict.cutoff.isoformat() if verdict.cutoff is not None else None
    needs: list[Row] = [
        {
            "source": name,
            "product": need.product,
            "needs_from": need.since.isoformat() if need.since is not None else None,
            "why": need.why,
            "cutoff": cutoff,
            "rows": found,
            "deleted": deleted,
        }
        for need in verdict.needs
    ]
    columns = [
        Column("PRODUCT", lambda row: row["product"]),
        Column("NEEDS FROM", lambda row: row["needs_from"] or f"unknown: {row['why']}"),
    ]
    if cutoff is None:
        footer = f"Nothing is deleted: {verdict.why}."
    elif dry:
        footer = f"{words.count(found, 'item')} before {cutoff} would be deleted: {verdict.why}."
    else:
        left = f" {found - deleted:,} are left: they were asked for meanwhile." if deleted < found else ""
        footer = f"{words.count(deleted, 'item')} before {cutoff} deleted: {verdict.why}.{left}"
    console.listing(options["format"], columns, needs, names=SOURCE_NAMES, footer=footer)
    return DONE if cutoff is not None else FAILED


# -- a person
# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """Where something is kept that tells of a row.

    Attributes:
        what, place: ``events`` and the table, or ``messages`` and the topics that say so.
        count: Returns how much there is.
        erase: Takes the row's name out of it; returns out of how many.
    """

    what: str
    place: str
    count: Callable[[], Found]
    erase: Callable[[], int]


def kept_of(alias: str, model: type[Model], pk: str) -> Iterator[Kept]:
    """Yield where a database keeps something that tells of a row.

    Args:
        model: Its model, or a parent or a child of that in the sense of multi-table inheritance.
        pk: Its primary key, as text.
    """
    session = caller(alias)
    labels = {one._meta.label for one in apps.get_models() if _same_rows(one, model)}
    name = erasing.pseudonym()
    for place in erasing.places(session, labels):
        if not erasing.may_be_nobody(session, place):
            raise failed(
                f"{place.model} keeps events, and its column {place.subject} is NOT NULL: whose they are cannot be "
                "erased, and nothing was. Give its subject null=True, and migrate."
            )
        yield Kept(
            "events",
            place.model or "kck_event",
            partial(erasing.count_events, session, place, labels, pk),
            partial(erasing.erase_events, session, place, labels, pk, name),
        )
    topics = [one for one in registry.unique() if isinstance(one, Topic) and spread.alias_of(one) == alias]
    said = [
        (topic.name, erasing.Told(topic.patterns, paths_of(paths)))
        for topic in topics
        for label, paths in topic.subjects.items()
        if label.lower() in {one.lower() for one in labels}
    ]
    if said:
        told = [one for _, one in said]
        readers, days = [one.name for one in topics], float(conf.MESSAGE_RETENTION_DAYS)
        yield Kept(
            "messages",
            ", ".join(dict.fromkeys(topic for topic, _ in said)),
            partial(erasing.count_messages, session, told, pk, readers, days),
            partial(erasing.erase_messages, session, told, pk, readers, days),
        )


def _same_rows(one: type[Model], other: type[Model]) -> bool:
    """Whether rows of two models are rows of one another: proxies, parents, children."""
    first, second = one._meta.concrete_model, other._meta.concrete_model
    return (
        first is not None and second is not None and (issubclass(first, second) or issubclass(second, first))
    )


def _erase(console: Console, options: Options) -> int:
    for option in ("product", "events", "source", "keep"):
        if options[option]:
            raise usage(f"--subject is about one row alone: leave out --{option}.")
    dry = options["dry_run"]
    model, pk = _row_of(options["subject"])
    found = [
        (alias, kept, kept.count()) for alias in aliases(options) for kept in list(kept_of(alias, model, pk))
    ]
    ready = sum(count.ready for _, _, count in found)
    question = f"Take {options['subject']} out of {words.count(ready, 'row')}? It cannot be taken back."
    if ready and not dry and not console.confirm(question):
        raise failed("Nothing was erased.")
    rows: list[Row] = [
        {
            "what": kept.what,
            "place": kept.place,
            "rows": count.ready,
            "erased": kept.erase() if count.ready and not dry else 0,
            "waiting": count.waiting,
            "database": alias,
        }
        for alias, kept, count in found
        if count.ready or count.waiting
    ]
    columns = [
        Column("WHAT", lambda row: row["what"]),
        Column("OF", lambda row: row["place"]),
        Column(
            "WOULD BE ERASED" if dry else "ERASED",
            lambda row: f"{row['rows' if dry else 'erased']:,}",
            right=True,
        ),
        Column("WAITING", lambda row: f"{row['waiting']:,}" if row["waiting"] else "-", right=True),
    ]
    told = _erased(options["subject"], model, pk, rows, dry)
    console.listing(options["format"], columns, rows, names=ERASED_NAMES, footer=told, empty=told)
    return FAILED if any(row["waiting"] for row in rows) else DONE


def _erased(name: str, model: type[Model], pk: str, rows: Sequence[Row], dry: bool) -> str:
    total = sum(row["rows" if dry else "erased"] for row in rows)
    done = "would be" if dry else "was"
    told = (
        f"{name} {done} taken out of {words.count(total, 'row')}; totals stay."
        if rows
        else f"Nothing tells of {name}."
    )
    waiting = sum(row["waiting"] for row in rows)
    if waiting:
        told += (
            f" {waiting:,} wait to be handled, by a worker or by manage.py kck consume, and keep it until then: "
            "run this again."
        )
    composite = isinstance(model._meta.pk, CompositePrimaryKey)
    if model._base_manager.filter(pk=tuple(json.loads(pk)) if composite else pk).exists():
        told += " The row is still there: what moves it from now on is kept under its name. Delete it first."
    return told


def _row_of(text: str) -> tuple[type[Model], str]:
    """Return model and primary key, as events have it, of ``app.model:pk``. Raises CommandError."""
    label, colon, pk = text.partition(":")
    if not colon or not pk:
        raise usage(f"--subject is a model and a primary key, such as shop.Customer:42, not {text!r}.")
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        near = difflib.get_close_matches(label, [one._meta.label for one in apps.get_models()], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise usage(f"--subject {text}: there is no model {label!r}.{hint}") from None
    try:
        if isinstance(model._meta.pk, CompositePrimaryKey):
            return model, json.dumps(list(json.loads(pk)))  # as PostgreSQL spells it
        return model, str(model._meta.pk.to_python(pk))
    except (ValidationError, ValueError, TypeError):
        raise usage(
            f"--subject {text}: {pk!r} is no primary key of {model._meta.label} ({type(model._meta.pk).__name__})."
        ) from None


def _prune(console: Console, options: Options) -> int:
    if options["subject"]:
        return _erase(console, options)
    if options["source"]:
        return _prune_source(console, options)
    if options["keep"] is not None:
        raise usage("--keep is said of a stream: with --source.")
    product = family(options["product"]).name if options["product"] else None
    dry = options["dry_run"]
    rows: list[Row] = []
    try:
        for alias in aliases(options):
            for leftover in leftovers_of(alias, product, older_events=options["events"]):
                found = leftover.count()
                deleted = 0
                if found and not dry:
                    with console.progress(found, f"{leftover.what} {leftover.product}".strip()) as progress:
                        for batch in leftover.prune():
                            deleted += batch
                            progress.step(by=batch)
                rows.append(
                    {
                        "what": leftover.what,
                        "product": leftover.product,
                        "rows": found,
                        "deleted": deleted,
                        "database": alias,
                    }
                )
    except KeyboardInterrupt:
        done = sum(row["deleted"] for row in rows)
        console.stderr.write(
            f"Interrupted after {done:,} rows. What is deleted is deleted; to go on: manage.py kck prune"
        )
        raise
    columns = [
        Column("WHAT", lambda row: row["what"]),
        Column("PRODUCT", lambda row: row["product"] or "all"),
        Column(
            "WOULD GO" if dry else "DELETED",
            lambda row: f"{row['rows'] if dry else row['deleted']:,}",
            right=True,
        ),
    ]
    console.listing(
        options["format"], columns, rows, names=NAMES, footer=_summary(rows, dry), empty=_nothing(product)
    )
    return DONE


def _summary(rows: Sequence[Row], dry: bool) -> str:
    total = sum(row["rows" if dry else "deleted"] for row in rows)
    left = 0 if dry else sum(max(row["rows"] - row["deleted"], 0) for row in rows)
    if dry:
        return (
            f"{words.count(total, 'row')} would be deleted. Run again without --dry-run."
            if total
            else "Nothing would be deleted."
        )
    busy = f" {left:,} are in use just now, and left for the next time." if left else ""
    return f"{words.count(total, 'row')} deleted.{busy}"


def _nothing(product: str | None) -> str:
    return (
        f"{product!r} has neither max_entries nor retention: nothing of it is pruned by itself."
        if product
        else "Nothing to prune."
    )


VERBS = (
    Verb(
        "prune", "Delete expired products, families above max_entries, old windows, records and runs.", _add_prune,
        _prune,
        more="Products past their hard expiry · those above a primer's max_entries, the long unread first · "
        "what unset left behind and\n"
        "runs, after KCK_FLOW['RUN_RETENTION_DAYS'] · messages that every topic has handled, after "
        "KCK_FLOW['MESSAGE_RETENTION_DAYS'] · windows of topics, and records, older than a primer's retention · "
        "with --events 90d, events of flows that are older. Of messages and events, nothing that a time frame needs.\n"
        "With --subject shop.Customer:42: who that was is known no more; what it counted for is.\n"
        "With --source shop.order: what no primer needs any more of that stream, and nothing where that is unknown.",
    ),
)  # fmt: skip
