"""``seed``: ready-made metrics, and made-up ones to look at."""

from __future__ import annotations

import argparse

from ...refresh import seeding
from ...refresh.seeding import Seeded
from .. import words
from ..arguments import Options, Verb, add_format, failed, usage
from ..console import DONE, Console
from ..tables import Column

NAMES = ("slug", "outcome", "periods")


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fake", action="store_true", help="Made-up metrics with numbers; refused where DEBUG is off."
    )
    parser.add_argument(
        "--days", type=words.at_least(1), metavar="N", help="With --fake: for so many days back (60)."
    )
    parser.add_argument(
        "--seed",
        type=words.at_least(0),
        metavar="N",
        help="With --fake: the same makes the same numbers (1).",
    )
    parser.add_argument(
        "--remove", action="store_true", help="With --fake: take them away, with all their numbers."
    )
    add_format(parser)


def _seed(console: Console, options: Options) -> int:
    if not options["fake"]:
        for name in ("days", "seed", "remove"):
            if options[name]:
                raise usage(f"--{name} goes with --fake.")
        found = list(seeding.seed())
    elif options["remove"]:
        found = list(seeding.remove_fake())
    else:
        try:
            found = list(
                seeding.fake(options["days"] or 60, options["seed"] if options["seed"] is not None else 1)
            )
        except RuntimeError as error:
            raise failed(str(error)) from None
    columns = [
        Column("METRIC", lambda row: f"metric/{row['slug']}"),
        Column("OUTCOME", lambda row: row["outcome"]),
        Column("PERIODS", lambda row: f"{row['periods']:,}" if row["periods"] else "", right=True),
    ]
    rows = [_row(one) for one in found]
    console.listing(options["format"], columns, rows, names=NAMES, empty="There is nothing to seed here.")
    if any(one.outcome == "added" for one in found) and not options["fake"]:
        console.note("Collected by the worker from now on, or now: manage.py kck collect")
    return DONE


def _row(one: Seeded) -> dict[str, object]:
    return {"slug": one.slug, "outcome": one.outcome, "periods": one.periods}


VERBS = (
    Verb(
        "seed", "Add ready-made metrics; with --fake, made-up ones to look at.", _add_seed, _seed,
        more="What is there already is left as it is.\nmanage.py kck seed --fake --days 60",
    ),
)  # fmt: skip
