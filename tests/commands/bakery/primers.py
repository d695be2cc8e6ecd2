"""What a bakery wants to know: one product for each thing that a command may meet."""

import os
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Sum

from kck_flow import Cache, Change, IntegerParameter, Key, On, Primer, every, scheduled
from tests.shop.models import Customer, Order


class Opening(Primer):
    """When the bakery opens."""

    key_base = "opening"
    soft_expire = timedelta(hours=1)
    hard_expire = timedelta(days=1)

    def compute(self, key: Key) -> dict[str, str]:
        return {"from": "06:30", "to": "18:00"}


class Takings(Primer):
    """What a customer has paid."""

    key_base = "takings"
    parameters = [IntegerParameter("customer")]
    depends_on = [On(Order, key="customer_id")]

    def domain(self) -> Any:
        return Customer.objects.order_by("pk").values_list("pk", flat=True)

    def compute(self, key: Key) -> int:
        found = Order.objects.filter(customer_id=key.params["customer"])
        return found.aggregate(total=Sum("cents"))["total"] or 0


class Best(Primer):
    """Who has paid most."""

    key_base = "best"
    keep_history = True
    retention = timedelta(days=30)

    def compute(self, key: Key) -> list[list[int]]:
        cache = Cache.get_instance()
        rows = [[pk, cache.get(f"takings/{pk}")] for pk in Customer.objects.values_list("pk", flat=True)]
        return sorted(rows, key=lambda row: -row[1])


class Tally(Primer):
    """How much a customer has ordered, augmented by each order."""

    key_base = "tally"
    parameters = [IntegerParameter("customer")]
    depends_on = [On(Order, key="customer_id", then="augment", fields=["cents"])]

    def compute(self, key: Key) -> dict[str, int]:
        cents = list(Order.objects.filter(customer_id=key.params["customer"]).values_list("cents", flat=True))
        return {"orders": len(cents), "cents": sum(cents)}

    def augment(self, key: Key, value: dict[str, int], changes: Sequence[Change]) -> dict[str, int]:
        for change in changes:
            for row, sign in ((change.old, -1), (change.new, 1)):
                if row is not None:
                    value = {"orders": value["orders"] + sign, "cents": value["cents"] + sign * row.cents}
        return value


class Oven(Primer):
    """How hot it is; the thermometer is broken unless somebody has repaired it."""

    key_base = "oven"
    backoff = timedelta(hours=1)
    stale_if_error = timedelta(days=1)
    soft_expire = timedelta(minutes=5)

    def compute(self, key: Key) -> int:
        if os.environ.get("BAKERY_OVEN") != "repaired":
            raise ValueError("the thermometer says nothing")
        return 230


class Bread(Primer):
    """How many loaves there are, counted each hour."""

    key_base = "bread"
    schedule = every(hours=1)

    def compute(self, key: Key) -> int:
        return 40


class Dough(Primer):
    """It takes its time."""

    key_base = "dough"
    parameters = [IntegerParameter("batch")]

    def compute(self, key: Key) -> int:
        time.sleep(60)
        return key.params["batch"]


class Slow(Dough):
    """It takes as long, and is to be kept warm."""

    key_base = "slow"
    domain = [1, 2]
    autostart = False


class Crumbs(Primer):
    """One a customer asks for; the long unread go first."""

    key_base = "crumbs"
    parameters = [IntegerParameter("n")]
    hard_expire = timedelta(days=7)
    max_entries = 3

    def compute(self, key: Key) -> int:
        return key.params["n"]


@scheduled(every(days=1), name="sweep")
def sweep() -> str:
    """Sweep the floor."""
    return "swept"
