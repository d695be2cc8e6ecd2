"""``frames`` and ``backfill``: time frames are listed, given up and filled in; and how far behind they are."""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import datetime

from ... import clock
from ... import key as keys
from ...errors import InvalidKey, UnknownPrimer
from ...registry import registry
from ...streams import frames, planner, topics
from ...timeframe import TimeFrame
from ...topic import Topic
from .. import words
from ..arguments import Options, Verb, add_format, add_limit, usage
from ..console import DONE, FAILED, PARTLY, Console
from ..tables import Column, Row
from . import collecting

STAT_NAMES = (
    "size", "frames", "items", "compute_ms", "longest_ms", "cleanup_ms", "late", "revised", "incomplete", "start",
    "end",
)  # fmt: skip
LAG_NAMES = ("frame", "pending", "seconds", "watermark")
FILLED_NAMES = ("key", "outcome", "error")


def _add_range(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--from", dest="start", type=words.aware, metavar="INSTANT", required=required, help="Included."
    )
    parser.add_argument(
        "--to", dest="end", type=words.aware, metavar="INSTANT", required=required, help="Not included."
    )


def _add_frames(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="A key base, or a key without its window; all families where not given.",
    )
    _add_range(parser, required=False)
    parser.add_argument("--state", choices=frames.STATES, default="", help="Only frames in this state.")
    parser.add_argument("--stats", action="store_true", help="What they took, on average, by size.")
    parser.add_argument(
        "--skip", nargs="+", metavar="KEY", help="Give frames up; what waits for them goes on."
    )
    parser.add_argument("--reason", metavar="TEXT", help="With --skip: why.")
    parser.add_argument(
        "--unskip", nargs="+", metavar="KEY", help="Have frames computed after all that were skipped."
    )
    parser.add_argument("--plan", action="store_true", help="Plan what is missing now; workers compute it.")
    add_limit(parser, 100)
    add_format(parser)


def _frames(console: Console, options: Options) -> int:
    given = [name for name in ("skip", "unskip", "stats", "plan") if options[name]]
    if len(given) > 1:
        raise usage(f"Choose one of --{', --'.join(given)}.")
    if options["skip"] or options["unskip"]:
        return _give_up(console, options)
    if options["reason"] is not None:
        raise usage("--reason goes with --skip.")
    if options["name"] is None:
        if given:
            raise usage(f"--{given[0]} is about one family: kck frames NAME --{given[0]}")
        return _families(console, options)
    family(keys.base_of(options["name"]))
    if options["plan"]:
        found = frames.plan(keys.base_of(options["name"]))
        console.write(
            f"{words.count(found.planned, 'frame')} planned, {found.skipped:,} skipped, {found.again:,} to be computed "
            "again."
        )
        return DONE
    return _stats(console, options) if options["stats"] else _list(console, options)


def family(name: str) -> None:
    """Raise CommandError where there is no time frame of that name."""
    try:
        frames.family(name)
    except (UnknownPrimer, InvalidKey) as error:
        raise usage(str(error)) from None


def _give_up(console: Console, options: Options) -> int:
    listed = options["skip"] or options["unskip"]
    if options["skip"] and not options["reason"]:
        raise usage('--skip says why: --reason "the source was down"')
    done = 0
    for text in listed:
        good = frames.skip(text, options["reason"]) if options["skip"] else frames.unskip(text)
        done += good
        if not good:
            why = "it is closed, or skipped already" if options["skip"] else "it was not skipped"
            console.stderr.write(f"{text}: {why}.")
    did = "skipped" if options["skip"] else "to be computed"
    console.write(f"{words.count(done, 'frame')} {did}.")
    return DONE if done == len(listed) else PARTLY if done else FAILED


def _families(console: Console, options: Options) -> int:
    rows = [_lag_row(one.name) for one in planner.families_of()]
    console.listing(
        options["format"],
        _LAG,
        rows,
        names=LAG_NAMES,
        empty="No time frames: declare one in <app>/primers.py.",
    )
    return DONE


_LAG = (
    Column("FRAME", lambda row: row["frame"]),
    Column("PENDING", lambda row: f"{row['pending']:,}", right=True),
    Column("BEHIND", lambda row: words.span(row["seconds"]), right=True),
    Column("COMPLETE UP TO", lambda row: words.instant(row["watermark"], clock.now())),
)


def _lag_row(name: str) -> Row:
    found = frames.lag(name)
    return {
        "frame": name,
        "pending": found.pending,
        "seconds": found.seconds,
        "watermark": found.watermark,
    }


def lag(console: Console, options: Options) -> int:
    """Say how far a family is behind its stream; whether that is more than is allowed."""
    topic = registry.primers.get(options["lag"])
    if isinstance(topic, Topic):
        return _lag_of_topic(console, options, topics.lag(topic))
    family(options["lag"])
    row = _lag_row(options["lag"])
    console.listing(options["format"], _LAG, [row], names=LAG_NAMES)
    most = options["at_most"]
    if most is not None and row["seconds"] > most:
        console.note(
            f"{row['frame']} is {words.span(row['seconds'])} behind, more than {words.span(most)}. "
            f"See: manage.py kck frames {row['frame']} --state failed"
        )
        return FAILED
    return DONE


def _lag_of_topic(console: Console, options: Options, found: topics.Lag) -> int:
    row = {"topic": found.topic, "seconds": found.seconds, "messages": found.messages, "parked": found.parked}
    columns = [
        Column("TOPIC", lambda row: row["topic"]),
        Column(
            "BEHIND",
            lambda row: "not known" if row["seconds"] is None else words.span(row["seconds"]),
            right=True,
        ),
        Column("MESSAGES", lambda row: f"{row['messages']:,}", right=True),
        Column("PARKED", lambda row: f"{row['parked']:,}", right=True),
    ]
    console.listing(options["format"], columns, [row], names=tuple(row))
    most = options["at_most"]
    # One that has nothing to handle is not behind, however long ago it looked.
    if most is not None and found.messages and (found.seconds is None or found.seconds > most):
        console.note(
            f"{found.topic} is behind. Is one running? manage.py kck consume; see: manage.py kck status"
        )
        return FAILED
    return DONE


def _list(console: Console, options: Options) -> int:
    now = clock.now()
    rows = frames.listed(
        options["name"],
        options["start"],
        options["end"],
        state=options["state"],
        limit=options["limit"] or None,
    )
    columns = [
        Column("FRAME", lambda row: row["key"]),
        Column("STATE", lambda row: row["state"] + (", again" if row["again"] else "")),
        Column("ITEMS", lambda row: "-" if row["items"] is None else f"{row['items']:,}", right=True),
        Column("LATE", lambda row: f"{row['late']:,}", right=True),
        Column("REV", lambda row: str(row["revision"]), right=True),
        Column("COMPLETE", lambda row: "yes" if row["complete"] else "NO"),
        Column("TOOK", lambda row: words.span(_seconds(row["compute_ms"])), right=True),
        Column("CLOSED", lambda row: words.instant(row["closed_at"], now)),
        Column("WHY", _why, stretch=True),
    ]
    console.listing(
        options["format"], columns, rows, names=frames.NAMES, empty=f"No frames of {options['name']} here."
    )
    return DONE


def _why(row: Row) -> str:
    said = row["reason"] or row["cleanup_error"] or (row["last_error"] if row["attempts"] else "")
    return said.splitlines()[0] if said else ""


def _seconds(ms: float | None) -> float | None:
    return ms / 1000 if ms is not None else None


def _stats(console: Console, options: Options) -> int:
    found = frames.stats(keys.base_of(options["name"]), options["start"], options["end"])
    rows = [{name: getattr(one, name) for name in STAT_NAMES} for one in found]
    columns = [
        Column("SIZE", lambda row: row["size"] or "all"),
        Column("FRAMES", lambda row: f"{row['frames']:,}", right=True),
        Column("ITEMS", lambda row: "-" if row["items"] is None else f"{row['items']:,}", right=True),
        Column("COMPUTE", lambda row: words.span(_seconds(row["compute_ms"])), right=True),
        Column("LONGEST", lambda row: words.span(_seconds(row["longest_ms"])), right=True),
        Column("CLEANUP", lambda row: words.span(_seconds(row["cleanup_ms"])), right=True),
        Column("LATE", lambda row: f"{row['late']:,}", right=True),
        Column("REVISED", lambda row: f"{row['revised']:,}", right=True),
        Column("INCOMPLETE", lambda row: f"{row['incomplete']:,}", right=True),
    ]
    console.listing(options["format"], columns, rows, names=STAT_NAMES, empty="No frames are closed there.")
    return DONE


# -- backfill


def _rate(text: str) -> float:
    """Read how many a second: ``5`` or ``5/s``, ``30/m``. Raises ArgumentTypeError."""
    number, _, unit = text.partition("/")
    try:
        found = float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        found = 0.0
    if not 0 < found < 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: write 5/s, 30/m or 100/h")
    return found


def _add_backfill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="The key base of a time frame; a metric.")
    _add_range(parser, required=False)
    parser.add_argument(
        "--missing",
        action="store_true",
        help="Of a metric: the periods since its first number that have none.",
    )
    parser.add_argument("--again", action="store_true", help="Those that are closed, or have a number, too.")
    parser.add_argument(
        "--closed-before",
        type=words.aware,
        metavar="INSTANT",
        help="With --again: only what was not closed since then (to go on after Ctrl+C).",
    )
    parser.add_argument("--rate", type=_rate, metavar="N/s", help="So many frames a second, at most.")
    add_format(parser)


def _backfill(console: Console, options: Options) -> int:
    name, start, end = options["name"], options["start"], options["end"]
    if None not in (start, end) and start >= end:
        raise usage("--from lies before --to.")
    if not isinstance(registry.primers.get(keys.base_of(name)), TimeFrame) and collecting.is_metric(name):
        return collecting.backfill(console, options)
    family(name)
    if start is None or end is None or options["missing"]:
        raise usage("Say from when to when: --from INSTANT --to INSTANT.")
    if options["closed_before"] is not None and not options["again"]:
        raise usage("--closed-before goes with --again.")
    begun_at = clock.now()
    total = len(frames.windows(name, start, end))
    before = options["closed_before"] or (begun_at if options["again"] else None)
    done: Counter[str] = Counter()
    bad: list[Row] = []
    people = options["format"] == "table"
    rows: list[Row] = []
    try:
        with console.progress(total, "frames") as progress:
            for one in frames.backfill(
                name, start, end, again=options["again"], before=before, rate=options["rate"]
            ):
                done[one.outcome] += 1
                row = {"key": str(one.key), "outcome": one.outcome, "error": str(one.error or "")}
                bad += [row] if one.error is not None else []
                rows += [] if people else [row]
                progress.step(str(one.key))
    except KeyboardInterrupt:
        again = f" --again --closed-before {before:%Y-%m-%dT%H:%M:%SZ}" if before is not None else ""
        console.stderr.write(
            f"Interrupted: {sum(done.values()):,} of {total:,} frames are there. To go on: "
            f"manage.py kck backfill {name} --from {_said(start)} --to {_said(end)}{again}"
        )
        raise
    if not people:
        console.listing(options["format"], (), rows, names=FILLED_NAMES)
    for one_bad in bad[:20]:
        console.stderr.write(f"{one_bad['key']}: {one_bad['error']}")
    told = ", ".join(f"{number:,} {_OUTCOMES.get(outcome, outcome)}" for outcome, number in done.items())
    (console.write if people else console.note)(f"{words.count(total, 'frame')}: {told or 'none'}.")
    if not bad:
        return DONE
    return FAILED if len(bad) == total else PARTLY


_OUTCOMES = {"done": "computed", "there": "there already", "unchanged": "as they were"}


def _said(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


VERBS = (
    Verb(
        "frames", "List time frames; plan, skip or take up single ones; say what they took.", _add_frames, _frames,
        more="manage.py kck frames weather --state failed\n"
        'manage.py kck frames --skip weather/2026-01-31T10 --reason "the sensor was broken"',
    ),
    Verb(
        "backfill", "Compute the time frames of a range here, those before the epoch, too; or a metric's periods.",
        _add_backfill, _backfill,
        more="What is closed is left as it is: interrupted, it goes on where it was.\n"
        "manage.py kck backfill weather --from 2025-01-01 --to 2026-01-01 --rate 5/s",
    ),
)  # fmt: skip
