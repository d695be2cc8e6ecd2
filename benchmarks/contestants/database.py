"""A contestant's own PostgreSQL database: made, counted and filled over a connection of the bench's own."""

from __future__ import annotations

from typing import Any


def connect(place: dict[str, Any], database: str) -> Any:
    """Open an autocommit connection with whichever driver this environment has."""
    arguments = {"host": place["host"], "port": place["port"], "user": place["user"], "dbname": database}
    if place.get("password"):
        arguments["password"] = place["password"]
    try:
        import psycopg

        return psycopg.connect(**arguments, autocommit=True, prepare_threshold=None)
    except ImportError:
        import psycopg2

        connection = psycopg2.connect(**arguments)
        connection.autocommit = True
        return connection


def run(place: dict[str, Any], database: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a connection of their own and return the rows of the last one, if it has any."""
    connection = connect(place, database)
    try:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def recreate(place: dict[str, Any], database: str) -> None:
    """Make the database, empty, whatever was there before."""
    run(place, "postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)", f"CREATE DATABASE {database}")
    if place.get("statements"):
        run(place, database, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


def statements_run(place: dict[str, Any], database: str) -> int | None:
    """Return how many statements this database has run, but for those that ask; None where nobody counts."""
    if not place.get("statements"):
        return None
    found = run(
        place,
        database,
        """SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
           WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND query NOT LIKE '%pg_stat_%'""",
    )
    return int(found[0][0])


def rows_written(place: dict[str, Any], database: str) -> int:
    """Return how many rows have been inserted, updated or deleted in this database, as far as reported
    yet."""
    found = run(
        place,
        database,
        """SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables""",
    )
    return int(found[0][0])
