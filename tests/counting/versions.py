"""Processes of two releases, which declare one stock, one flow and one process differently: case 30."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import Any

from django.db.models import F, Q

from kck_flow import Facet, Flow, Stock
from kck_flow.testing import registered
from tests.accounts.models import Account

_for_good = ExitStack()


def declare(release: int) -> None:
    """Declare what this release of the code declares, for as long as the process lives."""

    class Wealthy(Stock):
        key_base, model = "wealthy", Account
        members = Q(points__gt=1) if release == 1 else Q(points__gt=2, deleted_at=None)
        facets = [Facet("plan")] if release == 1 else [Facet("plan"), Facet("vip")]

    class Growing(Flow):
        key_base, sources, sinks = "growing_wealthy", [None], [Wealthy]
        facets = [Facet("plan")]

    _for_good.enter_context(registered(Wealthy, Growing))


def deploy(release: int) -> list[str]:
    """Do what ``migrate`` does with the code of a release."""
    from kck_flow.changes import triggers

    declare(release)
    return triggers.install("default")


def write_and_read(release: int, seconds: float, seed: int) -> dict[str, Any]:
    """Write and read as a process of a release does that was begun before, and lives on across a deploy."""
    from django.db import transaction

    from kck_flow import Cache
    from tests.counting.conftest import at_rest, counted, fold
    from tests.counting.oracle import _sql

    declare(release)
    pick, cache = random.Random(seed), Cache.get_instance()
    until = time.monotonic() + seconds
    checks, wrong, stored, states = 0, [], 0, set()
    while time.monotonic() < until:
        with transaction.atomic():
            Account.objects.bulk_create(
                [
                    Account(points=pick.randint(0, 5), plan=pick.choice("ab"), vip=pick.random() < 0.5)
                    for _ in range(3)
                ]
            )
            some = Account.objects.order_by("?").values_list("pk", flat=True)[:4]
            Account.objects.filter(pk__in=sorted(some)).select_for_update().order_by("pk").update(
                points=(F("points") + 1) % 6
            )
            if pick.random() < 0.2:
                transaction.set_rollback(True)
        if pick.random() < 0.3:
            fold()
        with transaction.atomic():
            _sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            read = cache.get("wealthy")
            checks += 1
            if read != counted("wealthy"):
                wrong.append(f"release {release}: read {read}, counted {counted('wealthy')}")
        cache.get("wealthy")  # outside of a transaction a miss has it counted for good
        state = str(cache.explain("wealthy")["state"])
        stored += state == "fresh"
        states.add(state)
    at_rest()
    return {"checks": checks, "wrong": wrong[:10], "stored": stored, "states": sorted(states)}


def both(release: int) -> dict[str, Any]:
    """Return what a release reads and counts."""
    from kck_flow import Cache
    from tests.counting.conftest import at_rest, counted

    declare(release)
    found = {"read": Cache.get_instance().get("wealthy"), "counted": counted("wealthy")}
    at_rest()
    return {name: repr(value) for name, value in found.items()}
