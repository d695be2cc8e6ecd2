"""What processes do for the cases that want a server of their own, or eight writers: 20, 22 and 23."""

from __future__ import annotations

import random
import time
from typing import Any

LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


def prepared_over_folds() -> list[list[str]]:
    """Leave a prepared transaction open over twenty folds and a count; returns what is read and counted at each."""
    from kck_flow import Cache
    from tests.accounts.models import Account
    from tests.counting.conftest import at_rest, counted, fold, primed, sql

    told = []

    def look() -> None:
        told.append(
            [str(Cache.get_instance().get(key)) for key in keys] + [str(counted(key)) for key in keys]
        )

    keys = ("active", "everyone", "money")
    Account.objects.bulk_create([Account(state="active", plan="a", balance=1) for _ in range(5)])
    primed(*keys)
    for name, word in (("one", "COMMIT"), ("two", "ROLLBACK")):
        sql("BEGIN")
        sql("UPDATE accounts_account SET plan = 'prepared', balance = balance + 1 WHERE id % 2 = 0")
        sql(
            "INSERT INTO accounts_account (state, vip, balance, points, note) VALUES ('active', true, 1, 0, '')"
        )
        sql(f"PREPARE TRANSACTION '{name}'")
        look()
        for number in range(20):
            Account.objects.create(state="active", plan=str(number), balance=number)
            assert fold() > 0
            look()
        Cache.get_instance().refresh("active")  # a count meets it, too
        look()
        sql(f"{word} PREPARED '{name}'")
        look()
        fold()
        look()
    at_rest()
    return told


def first_reads(branch: int, seconds: float) -> dict[str, Any]:
    """Write rows of a branch of one's own, and read its key for the first time again and again, at each isolation
    level, in and out of transactions that have written: what is read is what this process has left there.
    """
    from django.db import DatabaseError, transaction

    from kck_flow import Cache
    from tests.accounts.models import Account
    from tests.counting.conftest import at_rest, sql

    pick, cache, key = random.Random(branch), Cache.get_instance(), f"branch_accounts/{branch}"
    until = time.monotonic() + seconds
    there, checks, refused, wrong = 0, 0, 0, []

    def look(level: str, expected: int) -> None:
        nonlocal checks
        checks += 1
        if (found := cache.get(key)["value"]) != expected:
            wrong.append(f"{level}: read {found}, there are {expected}")

    while time.monotonic() < until:
        level = pick.choice(("open", *LEVELS))
        try:
            if pick.random() < 0.3:
                sql(
                    "UPDATE kck_generation SET primed_at = NULL WHERE key_base = 'branch_accounts' AND token IS NULL"
                )
            if level == "open":
                look(level, there)
                Account.objects.create(state="active", plan="a", branch_id=branch)
                there += 1
                look(level, there)
                continue
            with transaction.atomic():
                sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
                inside = there
                if pick.random() < 0.5:
                    look(level, inside)
                Account.objects.bulk_create([Account(state="active", branch_id=branch) for _ in range(3)])
                inside += 3
                look(f"{level}, written", inside)
                some = (
                    Account.objects.filter(branch_id=branch).order_by("pk").values_list("pk", flat=True)[:2]
                )
                inside -= Account.objects.filter(pk__in=list(some)).delete()[0]
                look(f"{level}, written", inside)
                if undone := pick.random() < 0.3:
                    transaction.set_rollback(True)
            there = there if undone else inside
            look("after", there)
        except DatabaseError:
            refused += 1  # a serialization failure: its transaction came to nothing
    at_rest()
    return {"checks": checks, "wrong": wrong[:5], "refused": refused}
