"""What processes on other servers do, for the tests of restored databases."""

from __future__ import annotations

from typing import Any


def fill() -> dict[str, Any]:
    """Write some accounts and have them counted; returns what is read, in the database of this process."""
    from tests.accounts.models import Account
    from tests.counting.conftest import fold, primed

    Account.objects.bulk_create([Account(state="active", plan="pro") for _ in range(5)])
    primed("active", "everyone")
    fold()
    Account.objects.create(state="active", plan="free")  # waits to be folded, in the dump, too
    Account.objects.filter(plan="pro").first().delete()  # type: ignore[union-attr]
    return read()


def read() -> dict[str, Any]:
    """Return what is read of a stock and a flow, beside the number of rows."""
    from kck_flow import Cache
    from tests.accounts.models import Account
    from tests.counting.conftest import at_rest

    cache = Cache.get_instance()
    told = cache.explain("active")
    found = {
        "read": cache.get("active")["facets"]["plan"],
        "rows": Account.objects.filter(state="active").count(),
        "state": told["state"],
        "cause": told["cause"],
    }
    at_rest()
    return found


def write_and_read() -> dict[str, Any]:
    """Write one account more, and read."""
    from tests.accounts.models import Account

    Account.objects.create(state="active", plan="new")
    return read()


def empty_own_tables() -> None:
    """Make room for what a dump holds of the cache's own tables."""
    from tests.counting.conftest import sql

    tables = [
        row[0] for row in sql("SELECT tablename FROM pg_tables WHERE tablename ~ '^(kck|django|auth)_'")
    ]
    sql(f"TRUNCATE {', '.join(tables)} CASCADE")
