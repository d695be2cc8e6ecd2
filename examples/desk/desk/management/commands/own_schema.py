"""``manage.py own_schema``: the schema that DATABASE_SCHEMA names, if it is ours or free."""

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, transaction

MARK = "Made by kck_flow's desk example. DROP SCHEMA ... CASCADE removes all of it."


class Command(BaseCommand):
    help = "Make the schema that DATABASE_SCHEMA names; refuse one that somebody else made."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--anew", action="store_true", help="empty: what is in it goes")

    def handle(self, *, anew: bool, **options: Any) -> None:
        schema = os.environ.get("DATABASE_SCHEMA", "")
        if not schema:
            raise CommandError("DATABASE_SCHEMA is not set: which schema?")
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [schema])  # one maker at a time
                cursor.execute(
                    "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s",
                    [schema],
                )
                found = cursor.fetchone()
                name = connection.ops.quote_name(schema)
                if anew and found == (MARK,):
                    cursor.execute(f"DROP SCHEMA {name} CASCADE")
                    found = None
                if found is None:
                    cursor.execute(f"CREATE SCHEMA {name}")
                    cursor.execute(f"COMMENT ON SCHEMA {name} IS '{MARK.replace(chr(39), chr(39) * 2)}'")
                elif found[0] != MARK:
                    raise CommandError(
                        f"The database has a schema {schema} that this example did not make; nothing was "
                        "touched. Rename it, or set DATABASE_URL to another database."
                    )
        except OperationalError as error:
            raise CommandError(f"The database cannot be reached: {error}") from error
