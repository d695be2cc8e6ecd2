"""``consume`` and ``rewind``: messages are brought and handled; a topic goes back."""

from __future__ import annotations

import argparse
import functools
import signal
from collections.abc import Callable, Sequence
from datetime import datetime

from ... import sources
from ...errors import DeclarationError, KckFlowError
from ...message import Source
from ...streams import consuming, topics
from .. import words
from ..arguments import Options, Verb, failed, usage
from ..console import DONE, PARTLY, Console
from .workers import log_to_stderr


def _add_consume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--once",
        action="store_true",
        help="Handle what is there, then end; exit 3 where some failed, 1 where no source could be read.",
    )
    parser.add_argument(
        "--topics",
        type=words.names,
        metavar="A,B",
        help="Only these topics; all that are declared where not given.",
    )
    parser.add_argument(
        "--sources",
        type=words.names,
        metavar="A,B",
        help="Bring messages from these only; from all of KCK_FLOW['SOURCES'] where not given.",
    )
    parser.add_argument("--no-sources", action="store_true", help="Bring no messages: others do.")
    parser.add_argument(
        "--enrichers",
        type=words.at_least(1),
        default=4,
        metavar="N",
        help="Threads that enrich messages (4).",
    )
    parser.add_argument(
        "--grace",
        type=words.seconds,
        default=25.0,
        metavar="DURATION",
        help="How long sources and enrichers may take to end on SIGTERM (25s).",
    )
    parser.add_argument("--alive-file", metavar="PATH", help="Touched whenever the loop turns.")


def _sources(options: Options) -> list[tuple[str, Callable[[], Source]]]:
    if options["no_sources"] and options["sources"] is not None:
        raise usage("--no-sources and --sources exclude each other.")
    try:
        known = [] if options["no_sources"] else sources.to_fetch()
    except DeclarationError as error:
        raise failed(str(error)) from None
    asked: Sequence[str] = known if options["sources"] is None else options["sources"]
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise usage(
            f"There is no source {unknown[0]!r} to fetch from. {words.nearest(unknown[0], known)}"
            f"KCK_FLOW['SOURCES'] has: {', '.join(known) or 'none'}."
        )
    return [(name, functools.partial(sources.make, name)) for name in asked]


def _consume(console: Console, options: Options) -> int:
    try:
        declared = topics.topics(options["topics"])
    except KckFlowError as error:
        raise usage(str(error)) from None
    given = _sources(options)
    if not declared and not given:
        raise failed("No topics found, and no sources: declare a Topic in <app>/primers.py.")
    log_to_stderr(console.verbosity)
    consumer = consuming.Consumer(
        consuming.Options(
            topics=[one.name for one in declared] if options["topics"] is not None else None,
            sources=given,
            enrichers=options["enrichers"],
            once=options["once"],
            alive_file=options["alive_file"],
            grace=options["grace"],
        )
    )
    before = {
        number: signal.signal(number, lambda *_: consumer.stop())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    if console.verbosity:
        console.note(
            f"consumer · topics {', '.join(one.name for one in declared) or 'none'} · "
            f"sources {', '.join(name for name, _ in given) or 'none, but what the project sends'}"
        )
    try:
        consumer.serve()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if console.verbosity:
        parked = f", {consumer.parked:,} parked" if consumer.parked else ""
        console.note(f"{consumer.messages:,} messages handled{parked}")
    if not options["once"]:
        return DONE
    lost = consumer.lost()
    told = " ".join(f"The source {name!r} could not be read: {error}." for name, error in lost.items())
    if lost and len(lost) == len(given) and not consumer.messages:
        raise failed(f"{told} Nothing was handled.")
    if lost:
        console.note(told)
    return PARTLY if consumer.parked or consumer.failed or lost else DONE


def _add_rewind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC", help="The key base of a topic.")
    parser.add_argument(
        "--to",
        type=words.aware,
        metavar="INSTANT",
        help="Handle again what happened from then on; of a topic without windows, leave it out: all of it.",
    )


def rewind(name: str, to: datetime | None = None) -> datetime:
    """Take a topic back to an instant (of one without windows: to its beginning); returns from when on it reads again.

    Raises:
        UnknownPrimer, KckFlowError: it is no topic, has not begun, or what it would read is not there any more.
    """
    return topics.rewind(topics.topics([name])[0], to)


def _rewind(console: Console, options: Options) -> int:
    begin_at = rewind(options["topic"], options["to"])
    if console.verbosity:
        console.write(
            f"{options['topic']} reads again from {begin_at.isoformat()} on, as soon as one runs: manage.py kck consume"
        )
    return DONE


VERBS = (
    Verb(
        "consume", "Bring messages, and let topics handle them, for ever.", _add_consume, _consume,
        more="SIGTERM or Ctrl+C: end after the batch that is under way. Several may run: a part of a topic is handled "
        "by one at a time.",
    ),
    Verb("rewind", "Have a topic handle its messages again, from an instant on.", _add_rewind, _rewind),
)  # fmt: skip
