"""Averages and distinct counts, kept by triggers: two sums, and how many rows have each value. Row 108."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, transaction
from django.db.models import Avg, Count, F, Q

from kck_flow import Cache, Facet, ModelParameter, Stock, counting
from kck_flow.cache import counted
from kck_flow.changes import triggers
from kck_flow.registry import registry
from kck_flow.testing import registered
from tests.accounts.models import Account, Branch
from tests.core.conftest import Thread
from tests.counting.conftest import equal, fold, primed

pytestmark = pytest.mark.django_db(transaction=True)


class Points(Stock):
    """What an active account has of points, on average."""

    key_base, model, members, measure = "mean_points", Account, Q(state="active"), Avg("points")
    facets = [Facet("plan"), Facet("plan") * Facet("vip")]


class Balance(Stock):
    """The average balance of a branch's accounts; of those that pay."""

    key_base, model, measure = "mean_balance", Account, Avg("balance", filter=Q(state="active"))
    parameters = [ModelParameter("branch", Branch, field="branch_id")]


class Plans(Stock):
    """How many plans are in use."""

    key_base, model, members, measure = (
        "plans_in_use",
        Account,
        Q(state="active"),
        Count("plan", distinct=True),
    )
    facets = [Facet("vip"), Facet("vip") * Facet("branch")]


class Branches(Stock):
    """How many branches an account's plan is sold in."""

    key_base, model, measure = "branches_of_plans", Account, Count(F("branch"), distinct=True)
    facets = [Facet("plan", values=["pro", "free"])]


ALL = (Points, Balance, Plans, Branches)


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    with registered(*ALL):
        triggers.install("default")
        yield
    triggers.install("default")


def live(key: str) -> Any:
    found = registry.key(key)
    return counting.count(registry.primers[found.key_base], found)


def test_both_are_captured_and_are_what_a_query_says(cache: Cache) -> None:
    north, south = (Branch.objects.create(name=name) for name in ("North", "South"))
    keys = ["mean_points", f"mean_balance/{north.pk}", "plans_in_use", "branches_of_plans"]
    assert all(counted.is_captured(registry.primers[registry.key(key).key_base]) for key in keys)
    empty = {"value": None, "facets": {"plan": {}, "plan*vip": {}}}
    assert cache.get("mean_points") == empty == live("mean_points")
    assert cache.get("branches_of_plans") == {"value": 0, "facets": {"plan": {"pro": 0, "free": 0}}}
    primed(*keys)
    Account.objects.bulk_create(
        Account(state="active", branch=branch, plan=plan, points=n, balance=Decimal(n) / 3, vip=n % 2 == 0)
        for n, (branch, plan) in enumerate(
            [(north, "pro"), (north, "pro"), (south, "free"), (None, None), (north, "free")]
        )
    )
    Account.objects.create(branch=north, points=100, balance=100, plan="idle")
    active = Account.objects.filter(state="active")
    assert cache.get("mean_points")["value"] == active.aggregate(mean=Avg("points"))["mean"] == 2.0
    assert cache.get("mean_points")["facets"]["plan"] == {"free": 3.0, "pro": 0.5, None: 3.0}
    mean = active.filter(branch=north).aggregate(mean=Avg("balance"))["mean"]
    assert round(cache.get(keys[1])["value"], 9) == round(mean, 9)
    assert cache.get("plans_in_use") == {
        "value": 2,
        "facets": {
            "vip": {False: 1, True: 2},
            "vip*branch": {(False, north.pk): 1, (True, north.pk): 2, (True, south.pk): 1},
        },
    }
    assert cache.get("branches_of_plans") == {"value": 2, "facets": {"plan": {"pro": 1, "free": 2}}}
    with transaction.atomic():
        Account.objects.filter(plan="free").update(plan="pro")
        assert cache.get("plans_in_use")["value"] == 1
    for key in keys:
        assert cache.get(key) == live(key), key
    fold()
    for key in keys:
        assert cache.get(key) == live(key), key
    # A value that leaves is gone with its last row, and not before.
    one = active.filter(plan="pro").first()
    assert one is not None
    one.delete()
    assert cache.get("plans_in_use")["value"] == 1
    active.filter(plan="pro").delete()
    assert cache.get("plans_in_use")["value"] == 0
    assert cache.get("plans_in_use") == live("plans_in_use")
    call_command("kck", "check", "--balance", *(registry.key(key).key_base for key in keys))


def test_writers_at_random_leave_what_a_count_says(cache: Cache) -> None:
    branches = [Branch.objects.create(name=str(n)) for n in range(3)]
    keys = [
        "mean_points",
        *(f"mean_balance/{one.pk}" for one in branches),
        "plans_in_use",
        "branches_of_plans",
    ]
    primed(*keys)

    def write(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(30):
            state, plan = rng.choice(["active", "trial"]), rng.choice(["pro", "free", None, "x"])
            match rng.randrange(4):
                case 0:
                    Account.objects.bulk_create(
                        Account(
                            state=state, plan=plan, branch=rng.choice([*branches, None]),
                            points=rng.randrange(9), balance=Decimal(rng.randrange(999)) / 100,
                        )
                        for _ in range(rng.randrange(1, 6))
                    )  # fmt: skip
                case 1:
                    Account.objects.filter(plan=plan).update(state=state, points=F("points") + 1)
                case 2:
                    Account.objects.filter(state=state).update(plan=plan)
                case _:
                    pk = Account.objects.filter(state=state).values_list("pk", flat=True).first()
                    Account.objects.filter(pk=pk).delete()
            if rng.random() < 0.2:
                fold()

    def patiently(seed: int) -> None:
        for attempt in range(5):
            with suppress(OperationalError):  # two updates of the same rows, in another order
                write(seed + attempt)
                break

    for writer in [Thread(lambda seed=seed: patiently(seed * 100)) for seed in range(3)]:
        writer.result()
    equal(*keys)
    for key in keys:
        assert cache.get(key) == live(key), key
