"""``worker``: the options of a worker, and its logs."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

from ...conf import LOCAL_EXECUTORS, conf, executor_problem
from ...refresh.parent import run_worker
from ...refresh.worker import Options as WorkerOptions
from ...registry import registry
from .. import words
from ..arguments import Options, Verb, failed, family, usage
from ..console import Console

REPLACING = ("max-refreshes", "max-rss", "max-age", "reload")
_FIELD = re.compile(r"(\w+)=(.*?)(?=\s\w+=|$)")


def _lanes(text: str) -> list[int]:
    return [words.lane(part) for part in words.names(text)]


def _positive(text: str) -> float:
    found = words.seconds(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time at all: it must be above 0")
    return found


def _touchable(text: str) -> str:
    try:
        Path(text).touch()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be touched: {error.strerror}") from None
    return text


def _add_worker(parser: argparse.ArgumentParser) -> None:
    number, positive = words.at_least(1), _positive
    parser.add_argument(
        "--once", action="store_true", help="Do what is due, then end; exit 3 where some of it failed."
    )
    parser.add_argument(
        "--lanes",
        type=_lanes,
        metavar="0,2,5",
        help="Only these lanes, the most urgent first; all where not given.",
    )
    parser.add_argument(
        "--products",
        type=words.names,
        metavar="A,B",
        help="Only these primers; all that are declared where not given.",
    )
    parser.add_argument(
        "--concurrency", type=number, default=1, metavar="N", help="How many refreshes at once (1)."
    )
    parser.add_argument(
        "--executor",
        metavar="NAME",
        help="Where they run: process (one each), thread (threads of one process), inline (here, one at a time), "
        "celery, django_tasks, procrastinate or the path of a class: then hints go to a fleet that runs already. "
        "The setting EXECUTOR where not given, which is process.",
    )
    parser.add_argument(
        "--claim",
        "--batch",
        type=number,
        default=10,
        metavar="N",
        help="How many are claimed at a time, at most (10).",
    )
    parser.add_argument(
        "--lease", type=positive, metavar="DURATION", help="How long a refresh is held without a beat."
    )
    parser.add_argument(
        "--poll", type=positive, metavar="DURATION", help="How often to look when nobody woke it (1s)."
    )
    parser.add_argument(
        "--grace",
        type=words.seconds,
        default=25.0,
        metavar="DURATION",
        help="How long running refreshes may take to end on SIGTERM (25s).",
    )
    parser.add_argument("--max-refreshes", type=number, metavar="N", help="Replace a process after so many.")
    parser.add_argument(
        "--max-rss",
        type=words.number_of_bytes,
        metavar="512M",
        help="Replace a process that has grown so large.",
    )
    parser.add_argument("--max-age", type=positive, metavar="12h", help="Replace a process so old.")
    parser.add_argument(
        "--alive-file",
        type=_touchable,
        metavar="PATH",
        help="Touched whenever the loop turns, and every 5 s while something runs.",
    )
    parser.add_argument(
        "--reload", action="store_true", help="Begin anew when the code changes (development)."
    )


def options_of(options: Options) -> WorkerOptions:
    """Return a worker's options from those of the command line. Raises CommandError."""
    if options["once"] and options["reload"]:
        raise usage("--once ends when nothing is due; --reload has no use then.")
    executor = options["executor"] or conf.EXECUTOR
    given = {"executor": executor} if isinstance(executor, str) else executor
    wrong = executor_problem(given)
    if wrong is not None:
        raise usage(wrong.replace("KCK_FLOW['EXECUTOR']", "--executor") if options["executor"] else wrong)
    executor = given["executor"] if given["executor"] in LOCAL_EXECUTORS else executor
    if executor not in LOCAL_EXECUTORS and options["concurrency"] > 1:
        raise usage(
            f"--executor {given['executor']} hands refreshes to its fleet, which has a concurrency of its own: "
            "leave --concurrency out."
        )
    if executor == "inline":
        replacing = [name for name in REPLACING if options[name.replace("-", "_")]]
        if replacing:
            raise usage(f"--executor inline has no process to replace: --{replacing[0]} needs another.")
        if options["concurrency"] > 1:
            raise usage("--executor inline does one refresh at a time: --concurrency needs another.")
    for name in options["products"] or ():
        family(name)
    return WorkerOptions(
        lanes=options["lanes"],
        products=[registry.primer(name).name for name in options["products"]]
        if options["products"]
        else None,
        concurrency=options["concurrency"],
        executor=executor,
        claim=options["claim"],
        lease=options["lease"],
        poll=options["poll"],
        grace=options["grace"],
        max_refreshes=options["max_refreshes"],
        max_rss=options["max_rss"],
        max_age=options["max_age"],
        alive_file=options["alive_file"],
        once=options["once"],
        reload=options["reload"],
        quiet=options["verbosity"] == 0,
    )


def _worker(console: Console, options: Options) -> int:
    if not registry.primers:
        raise failed("No primers found: put them in <app>/primers.py, or run: manage.py kck init APP")
    given = options_of(options)
    log_to_stderr(console.verbosity)
    return run_worker(given)


# -- logs -------------------------------------------------------------------------------------------------------------


class Logfmt(logging.Formatter):
    """One line for people: the time, the level where it is not INFO, the event and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        text = f"{self.formatTime(record, '%H:%M:%S')} {level}{words.printable(record.getMessage())}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class Lines(logging.Formatter):
    """One JSON object a line for programs: ``at``, ``level``, ``event`` and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        event, _, rest = message.partition(" ")
        at = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}{self.formatTime(record, '%z')}"
        told: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "event": event.rstrip(":")}
        fields = {name: value.strip() for name, value in _FIELD.findall(rest)}
        told |= {name: _number(value) for name, value in fields.items() if name not in told}
        if not fields and rest:
            told["text"] = rest
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text
        except ValueError:
            return text


def log_to_stderr(verbosity: int) -> None:
    """Have the worker's logs written to stderr, unless the project has told its logs where to go."""
    logger = logging.getLogger("kck_flow")
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt() if sys.stderr.isatty() else Lines())
    logger.addHandler(handler)
    logger.setLevel({0: logging.ERROR, 1: logging.INFO}.get(verbosity, logging.DEBUG))


VERBS = (
    Verb(
        "worker", "Refresh what is due, for ever.", _add_worker, _worker,
        more="SIGTERM or Ctrl+C: claim nothing more, end what runs within --grace, give the rest back. A "
        "second one: at once.\n"
        "SIGHUP: replace the processes. SIGUSR1: show what runs.",
    ),
)  # fmt: skip
