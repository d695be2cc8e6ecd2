"""``manage.py kck <verb>``: products from the command line; each verb stands in ``management/verbs``."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from functools import partial
from typing import Any, NoReturn

from django.core.management import BaseCommand, CommandError, CommandParser
from django.core.management.base import DjangoHelpFormatter
from django.db import DatabaseError, OperationalError, ProgrammingError

from ...errors import InvalidKey, KckFlowError, UnknownPrimer
from ...registry import registry
from .. import words
from ..arguments import Verb
from ..console import DONE, FAILED, USAGE, Console
from ..verbs import ALL

INTERRUPTED = 130  # as a shell has it for what Ctrl+C ended
READER_GONE = 141  # as a shell has it for what a closed pipe ended


class Command(BaseCommand):
    help = "Products: see them, change them, refresh them, move them. Each verb has its own --help."
    # One app's broken primers.py must not keep an operator from the products of the others: a note says it is so.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("epilog", "Exit codes: 0 done, 1 failed, 2 asked wrongly, 3 partly failed.")
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.error = partial(_refuse, parser)  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
        for verb in ALL.values():
            own = verbs.add_parser(
                verb.name,
                help=verb.help,
                description=verb.help,
                epilog=verb.more or None,
                formatter_class=_Formatter,
            )
            own.error = partial(_refuse, own)  # type: ignore[method-assign]
            verb.arguments(own)
            _add_base(own)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb. Raises CommandError for what was asked wrongly or cannot be done; SystemExit with a code."""
        verb: Verb = ALL[options["verb"]]
        console = Console(
            self.stdout,
            self.stderr,
            self.style,
            verbosity=options["verbosity"],
            interactive=options.get("interactive", True),
        )
        if options["verbosity"] < 2 and verb.name not in ("worker", "consume"):
            # What a verb has to say it says itself; unhandled, our warnings would be repeated on stderr.
            logger = logging.getLogger("kck_flow")
            if not logger.hasHandlers():
                logger.addHandler(logging.NullHandler())
        if registry.broken and verb.name != "check":
            names = ", ".join(broken.module for broken in registry.broken)
            console.note(
                f"Could not be imported: {names}. See: manage.py check --tag kck", self.style.WARNING
            )
        try:
            code = verb.run(console, options)
            self.stdout.flush()
        except CommandError:
            raise
        except (UnknownPrimer, InvalidKey) as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except KckFlowError as error:
            raise CommandError(str(error), returncode=FAILED) from error
        except DatabaseError as error:
            raise CommandError(_of_database(error), returncode=FAILED) from error
        if code != DONE:
            sys.exit(code)

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)  # the verb has said how to go on
        except BrokenPipeError:
            # Whoever read us has enough (`kck keys | head`). What is still buffered must not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(READER_GONE)


class _Formatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options; examples below them keep their lines."""


def _add_base(parser: argparse.ArgumentParser) -> None:
    """Accept Django's own options after the verb, too; where they are not given there, those before it hold."""
    group = parser.add_argument_group("options of every command")
    quiet: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    group.add_argument(
        "-v",
        "--verbosity",
        type=int,
        choices=[0, 1, 2, 3],
        default=argparse.SUPPRESS,
        help="0 says only data and errors, 2 more.",
    )
    group.add_argument("--no-color", action="store_true", default=argparse.SUPPRESS, help="No colours.")
    group.add_argument("--force-color", action="store_true", **quiet)
    group.add_argument(
        "--traceback", action="store_true", default=argparse.SUPPRESS, help="Show whole traces."
    )
    group.add_argument("--settings", **quiet)
    group.add_argument("--pythonpath", **quiet)


def _refuse(parser: CommandParser, message: str) -> NoReturn:
    text = _with_nearest(message)
    if parser.called_from_command_line:
        # Whoever says no verb does not know them: all of them, each with a sentence.
        (parser.print_help if message.endswith("VERB") else parser.print_usage)(sys.stderr)
        parser.exit(USAGE, f"{parser.prog}: error: {text}\n")
    raise CommandError(f"Error: {text}", returncode=USAGE)


def _with_nearest(message: str) -> str:
    """Add to argparse's sentence what was probably meant."""
    choice = re.search(r"invalid choice: '?([^'\s]+)'? \(choose from (.*)\)", message)
    if choice:
        near = words.nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        return f"{message}. {near}".strip() if near else message
    return message


def _of_database(error: DatabaseError) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, ProgrammingError) and "kck_" in text and "does not exist" in text:
        return f"{text}. The tables are not as this version needs them. Run: manage.py migrate"
    if isinstance(error, OperationalError):
        return f"The database does not answer: {text}. See: manage.py kck check --setup"
    return f"The database refused: {text}"
