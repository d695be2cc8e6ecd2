"""What the tests of the admin look at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q

from kck_flow import Facet, Flow, IntegerParameter, Metric, Primer, Process, Stock
from tests.accounts.models import Account


class Menu(Primer):
    """What a branch serves."""

    key_base = "a_menu"
    parameters = [IntegerParameter("branch")]
    keep_history = True
    soft_expire = timedelta(minutes=5)

    def compute(self, key: Any) -> dict[str, Any]:
        return {"branch": key.params["branch"], "api_key": "s3cr3t", "dishes": ["soup", "bread"]}


class Failing(Primer):
    """What cannot be computed."""

    key_base = "a_kitchen"

    def compute(self, key: Any) -> int:
        raise RuntimeError("the kitchen is closed")


class Private(Primer):
    """What nobody may see."""

    key_base = "a_private"
    permission = "nobody"

    def compute(self, key: Any) -> str:
        return "hush"


def may_see(user: Any, action: str, about: Any) -> bool:
    """Everything but what is about branch 13."""
    return getattr(about, "params", {}).get("branch") != 13


class Guarded(Primer):
    """What goes by a function."""

    key_base = "a_guarded"
    parameters = [IntegerParameter("branch")]
    permission = staticmethod(may_see)

    def compute(self, key: Any) -> int:
        return int(key.params["branch"])


class Reader(Primer):
    """What is made from the menu of branch 1."""

    key_base = "a_reader"

    def compute(self, key: Any) -> int:
        from kck_flow import Cache

        return len(Cache.get_instance().get("a_menu/1")["dishes"])


class Trying(Stock):
    """Accounts that try."""

    key_base = "a_trying"
    model, members = Account, Q(state="trial")
    facets = [Facet("plan")]


class Paying(Stock):
    """Accounts that pay us."""

    key_base = "a_paying"
    model, members = Account, Q(state="active")


class Starting(Flow):
    """Accounts that begin to pay."""

    key_base = "a_starting"
    sources, sinks = [Trying], [Paying]
    record_events = True


class Subscribing(Process):
    """How accounts come to pay."""

    key_base = "a_subscribing"
    stocks, flows = [Trying, Paying], [Starting]


class Visits(Metric):
    """Visits."""

    key_base = "a_visits"
    unit, unit_plural, tz = "visit", "visits", "UTC"

    def compute(self, key: Any, span: Any) -> int:
        return int(span.start.day)


PRIMERS = [Menu, Failing, Private, Guarded, Reader, Visits]
COUNTED = [Trying, Paying, Starting, Subscribing]
