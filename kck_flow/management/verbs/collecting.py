"""``collect``: metrics are measured now; and what was missed of them is filled in (``backfill``)."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from datetime import datetime
from typing import Any

from ...errors import InvalidKey, NotPrimed, UnknownPrimer
from ...refresh import collecting
from ...refresh.collecting import Collected
from .. import words
from ..arguments import Options, Verb, add_format, usage
from ..console import DONE, FAILED, PARTLY, Console
from ..tables import Column, Row

NAMES = ("metric", "outcome", "value", "period", "start", "end", "filled", "error")
FILLED_NAMES = ("metric", "missing", "filled", "failed", "error")


def _add_collect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="METRIC", help="A key base, a key or a slug; all where not given."
    )
    parser.add_argument("--paused", action="store_true", help="Those that are paused, too.")
    parser.add_argument(
        "--print-cron",
        action="store_true",
        help="Print the line for a crontab that collects each hour; do nothing.",
    )
    add_format(parser)


def _collect(console: Console, options: Options) -> int:
    if options["print_cron"]:
        # Where no worker runs. It goes to cron as it is: a % would be a new line there.
        manage = os.path.abspath(sys.argv[0])
        line = f"cd {shlex.quote(os.getcwd())} && {shlex.quote(sys.executable)} {shlex.quote(manage)} kck collect -v0"
        console.write("5 * * * * " + line.replace("%", r"\%"))
        return DONE
    try:
        asked = collecting.metrics(options["names"])
    except (UnknownPrimer, InvalidKey, NotPrimed) as error:
        raise usage(str(error)) from None
    found: list[Collected] = []
    with console.progress(len(asked), "metrics") as progress:
        for one in collecting.collect(options["names"], paused=options["paused"]):
            found.append(one)
            progress.step(str(one.key))
    columns = [
        Column("METRIC", lambda row: row["metric"]),
        Column("OUTCOME", lambda row: row["outcome"]),
        Column(
            "VALUE",
            lambda row: words.value(row["value"]) if row["outcome"] == "collected" else "",
            right=True,
        ),
        Column("PERIOD", lambda row: row["period"]),
        Column("FILLED", lambda row: f"{row['filled']:,}" if row["filled"] else "", right=True),
        Column("WHY", lambda row: row["error"].splitlines()[0] if row["error"] else "", stretch=True),
    ]
    console.listing(
        options["format"],
        columns,
        [_row(one) for one in found],
        names=NAMES,
        empty="No metrics: declare one in <app>/primers.py, or Metric.create(…) one.",
    )
    failed = sum(one.outcome == "failed" for one in found)
    if failed:
        console.note(
            f"{failed:,} of {words.count(len(found), 'metric')} failed. See: manage.py kck explain METRIC"
        )
    # A number that is missing must not look like success to whoever runs this by clock.
    return DONE if not failed else FAILED


def _row(one: Collected) -> Row:
    return {
        "metric": str(one.key),
        "outcome": one.outcome,
        "value": one.value,
        "period": one.period,
        "start": one.span.start if one.span else None,
        "end": one.span.end if one.span else None,
        "filled": one.filled,
        "error": one.error,
    }


def backfill(console: Console, options: Options) -> int:
    """Fill in the periods of metrics that have no number; of ``backfill``, where its name is a metric's."""
    start: datetime | None = options["start"]
    end: datetime | None = options["end"]
    if not options["missing"] and start is None:
        raise usage(
            "Say from when on (--from, --to), or --missing for what was missed since its first number."
        )
    rows: list[Row] = []
    for key, family in collecting.metrics([options["name"]]):
        metric = family.of(key)
        if not metric.answers_for_the_past:
            raise usage(
                f"{str(key)!r} cannot be filled in: it measures what is now. One that has compute(self, key, span) can."
            )
        filled = collecting.fill(key, metric, start, end, again=options["again"])
        rows.append(
            {
                "metric": str(key),
                "missing": filled.missing,
                "filled": filled.filled,
                "failed": filled.failed,
                "error": filled.error,
            }
        )
    columns: list[Column] = [
        Column("METRIC", lambda row: row["metric"]),
        *(_number(name) for name in ("missing", "filled", "failed")),
        Column("WHY", lambda row: row["error"], stretch=True),
    ]
    console.listing(options["format"], columns, rows, names=FILLED_NAMES)
    bad = sum(bool(row["failed"]) for row in rows)
    if not bad:
        return DONE
    return PARTLY if any(row["filled"] for row in rows) else FAILED


def _number(name: str) -> Column:
    def shown(row: Any) -> str:
        return f"{row[name]:,}"

    return Column(name.upper(), shown, right=True)


def is_metric(name: str) -> bool:
    """Whether a name means a metric."""
    try:
        return bool(collecting.metrics([name]))
    except (UnknownPrimer, InvalidKey, NotPrimed):
        return False


VERBS = (
    Verb(
        "collect", "Measure metrics now, each for itself, and fill in what was missed.", _add_collect, _collect,
        more="A worker does it by itself: manage.py kck worker. Without one, by cron:\n"
        "manage.py kck collect --print-cron | crontab -",
    ),
)  # fmt: skip
