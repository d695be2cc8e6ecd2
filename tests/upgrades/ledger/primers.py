"""Of each kind of product, one; what a version did not know yet is left out there."""

from datetime import timedelta

from django.db.models import Q

import kck_flow
from kck_flow import Primer
from tests.upgrades.ledger.models import Entry


class Kept(Primer):
    """Set by hand, and remembered."""

    key_base = "kept"
    keep_history = True

    def compute(self, key):
        return None


class Costly(Primer):
    """Computed once."""

    key_base = "costly"
    soft_expire = timedelta(days=10_000)

    def compute(self, key):
        return Entry.objects.count() + 1000


if hasattr(kck_flow, "Flow"):
    from kck_flow import Facet, Flow, Stock

    class Open(Stock):
        key_base, model, members = "open", Entry, Q(state="open")
        facets = [Facet("plan")]

    class Done(Stock):
        key_base, model, members = "done", Entry, Q(state="done")

    class Doing(Flow):
        key_base, sources, sinks = "doing", [Open], [Done]
        record_events = True


if hasattr(kck_flow, "Topic"):
    from kck_flow import Topic

    class Paid(Topic):
        key_base, topics = "paid", ["paid"]

        def process(self, state, message):
            return state + message.body["cents"]


if hasattr(kck_flow, "Metric"):
    from kck_flow import Metric

    class Entries(Metric):
        key_base = "entries"

        def compute(self, key):
            return Entry.objects.count()
