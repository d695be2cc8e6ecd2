"""What the project does with a version, and what a later one has to find: run as a script, with Django set up."""

import json
import sys

import django

django.setup()

from django.core.management import call_command  # noqa: E402

import kck_flow  # noqa: E402
from kck_flow import Cache  # noqa: E402
from tests.upgrades.ledger.models import Entry  # noqa: E402

cache = Cache.get_instance()


def live():
    """Make something of each kind."""
    cache.set("kept", {"n": 1})
    cache.set("kept", {"n": 2})
    cache.set("loose/1", "by hand")
    Entry.objects.bulk_create([Entry(plan="pro") for _ in range(4)] + [Entry() for _ in range(3)])
    cache.get("costly")
    if hasattr(kck_flow, "Flow"):
        cache.get("open")
        cache.get("done")
        Entry.objects.filter(plan="pro").order_by("pk").first().delete()
        Entry.objects.filter(plan="free").update(state="done")
    if hasattr(kck_flow, "Topic"):
        from kck_flow.streams import topics
        from kck_flow.streams.log import send

        topics.drain(["paid"])
        send("paid", {"cents": 7}, id="one")
        topics.drain(["paid"])
        send("paid", {"cents": 5}, id="two")
    if hasattr(kck_flow, "Metric"):
        call_command("kck", "collect", "entries", verbosity=0)


def tell():
    """Return all that can be seen of it."""
    from kck_flow.models import Record

    told = {
        "kept": cache.get("kept"),
        "history": sorted(
            json.dumps(one) for one in Record.objects.filter(key="kept").values_list("value", flat=True)
        ),
        "loose": cache.get("loose/1"),
        "costly": cache.get("costly"),
        "version": cache.get_entry("kept").version,
    }
    if hasattr(kck_flow, "Flow"):
        from kck_flow.models import Event

        told |= {
            "open": cache.get("open")["value"],
            "plans": cache.get("open")["facets"]["plan"],
            "done": cache.get("done")["value"],
            "events": Event.objects.filter(key_base="doing").count(),
        }
    if hasattr(kck_flow, "Topic"):
        from kck_flow.streams import topics

        topics.drain(["paid"])
        told["paid"] = cache.get("paid")
    if hasattr(kck_flow, "Metric"):
        told["entries"] = Record.objects.filter(key="entries").count()
    return told


if __name__ == "__main__":
    if sys.argv[1] == "live":
        live()
    elif sys.argv[1] == "tell":
        print(json.dumps(tell()))
    elif sys.argv[1] == "go on":
        Entry.objects.create(plan="new")
        print(json.dumps(tell()))
