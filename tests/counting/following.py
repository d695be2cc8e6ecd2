"""What processes do on a server and on its standby, for the tests of reads there."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.counting import oracle


def fill() -> None:
    """Have some families counted, some not; and an ordinary product stored, that is stale."""
    from kck_flow import Cache
    from tests.accounts.models import Account, Branch
    from tests.counting.conftest import fold, primed, sql

    oracle.prepare()
    Branch.objects.filter(pk=1).update(country="DE")
    Account.objects.bulk_create([Account(state="active", plan="pro", branch_id=1) for _ in range(50)])
    primed("active", "everyone", "branch_accounts/1", "holding/active/0", "recent_money")
    fold()
    Cache.get_instance().refresh("abroad")
    sql("UPDATE kck_product SET soft_expires_at = now() - interval '1 day' WHERE key LIKE 'abroad%%'")


def follow(seconds: float, seed: int) -> dict[str, Any]:
    """Compare what is read on a standby with what is counted there, in one snapshot; through the public door, too."""
    from kck_flow import Cache
    from tests.counting.conftest import counted

    pick = random.Random(seed)
    until_then = time.monotonic() + seconds
    checks, wrong, seen = 0, [], set()
    while time.monotonic() < until_then:
        with oracle._transaction("REPEATABLE READ"):
            number, told = oracle.compare(pick, some=6)
            checks, wrong = checks + number, wrong + told
            for key in (
                "active",
                "money",
                f"branch_accounts/{pick.randint(1, 3)}",
            ):  # money was never counted
                found = Cache.get_instance().get(key)
                checks += 1
                if found != counted(key):
                    wrong.append(f"{key}: get {found}, counted {counted(key)}")
                seen.add(str(found["value"]))
    return {"checks": checks, "wrong": wrong[:20], "seen": len(seen)}


def ask() -> dict[str, str]:
    """Ask for all that a standby cannot do; returns what is answered, by name."""
    from django.db import transaction

    from kck_flow import Cache
    from kck_flow.errors import ReadOnlyStore
    from tests.counting.conftest import at_rest

    cache = Cache.get_instance()

    def in_transaction() -> Any:
        with transaction.atomic():
            return cache.get("book_count")

    asked = {
        "miss": lambda: cache.get("book_count"),
        "miss in a transaction": in_transaction,
        "refresh": lambda: cache.refresh("active"),
        "refresh of a product": lambda: cache.refresh("abroad"),
        "request": lambda: cache.request_refresh("abroad"),
        "invalidate": lambda: cache.invalidate("active"),
        "set": lambda: cache.set("book_count", 3),
        "unset": lambda: cache.unset("abroad"),
    }
    told = {}
    for name, call in asked.items():
        try:
            told[name] = f"answered {call()}"
        except ReadOnlyStore as error:
            told[name] = str(error)
    now = datetime.now(UTC)
    found = {
        "stale": str(cache.get("abroad")),
        "state": cache.get_entry("abroad").state,  # type: ignore[union-attr]
        "never counted": str(cache.get("trial")["value"]),
        "many": str([one["value"] for one in cache.get_many(["trial", "everyone", "signing_up"]).values()]),
        "series": str(
            sum(
                p.value or 0
                for p in cache.series("signing_up", now - timedelta(days=1), now + timedelta(hours=1))
            )
        ),
    }
    at_rest()
    return {**told, **{f"reads {name}": value for name, value in found.items()}}


def position(inner: str) -> str:
    """Return a position in the log of a server."""
    from tests.counting.conftest import sql

    return str(sql(f"SELECT {inner}")[0][0])


def totals() -> dict[str, Any]:
    """Return what is read, beside what is counted, of some keys."""
    from kck_flow import Cache
    from tests.counting.conftest import counted

    keys = ("active", "everyone", "holding/active/0", "branch_accounts/1")
    return {key: [str(Cache.get_instance().get(key)), str(counted(key))] for key in keys}


def compute_by_router() -> dict[str, Any]:
    """Compute and write where a router sends it; returns what is read of it."""
    from kck_flow import Cache
    from tests.accounts.models import Account
    from tests.counting.conftest import at_rest, equal

    cache = Cache.get_instance()
    Account.objects.create(state="trial", plan="by router")
    cache.refresh("trial")
    Account.objects.create(state="trial", plan="by router")
    equal("trial", "everyone")
    found = {"trial": cache.get("trial")["value"], "abroad": cache.refresh("abroad").value["value"]}
    at_rest()
    return found


def refresh_and_write() -> None:
    """Have a stock counted, and write, as a primary can."""
    from kck_flow import Cache
    from tests.accounts.models import Account
    from tests.counting.conftest import equal, fold

    Cache.get_instance().refresh("active")
    Cache.get_instance().refresh("trial")
    Account.objects.create(state="active", plan="promoted")
    equal("active", "trial", "everyone")
    fold()
    equal("active", "trial", "everyone")
