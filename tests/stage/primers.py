"""Products of the stage: each family one policy, what they do is written down by the test (`acting.py`)."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from typing import Any

from django.db.models import Q

from kck_flow import (
    Cache,
    Facet,
    IntegerParameter,
    Key,
    ModelParameter,
    On,
    Primer,
    Stock,
    StringParameter,
    cron,
    every,
    scheduled,
)
from tests.accounts.models import Account, Branch
from tests.shop.models import Author
from tests.stage.acting import begin, play, script_of, stage, tell


class Actor(Primer):
    """Abstract: does what its script says."""

    parameters = [StringParameter("name")]

    def compute(self, key: Key) -> Any:
        return play(str(key))


class Act(Actor):
    """Never expires by itself; a failure is repeated after ten seconds at the soonest."""

    key_base = "act"
    backoff = timedelta(seconds=20)


class Quick(Actor):
    """Fails again soon."""

    key_base = "quick"
    backoff = timedelta(milliseconds=100)
    retries = 3
    park_after = 4


class Frail(Actor):
    """Served for half an hour after its hard expiry when it cannot be computed."""

    key_base = "frail"
    soft_expire = timedelta(seconds=60)
    hard_expire = timedelta(seconds=600)
    stale_if_error = timedelta(seconds=1800)
    jitter = 0.0
    backoff = timedelta(seconds=10)
    backoff_cap = timedelta(seconds=40)
    retries = 100
    park_after = 1000


class Absent(Actor):
    """A result of None lives shorter."""

    key_base = "absent"
    soft_expire = None
    hard_expire = timedelta(seconds=600)
    negative_expire = timedelta(seconds=60)
    depends_on = [On("shop.Author", key=lambda change: f"absent/{(change.new or change.old).name}")]


class Guarded(Actor):
    """May be computed for a second."""

    key_base = "guarded"
    compute_limit = timedelta(seconds=1)
    backoff = timedelta(milliseconds=100)


class Single(Actor):
    """One at a time, over all workers."""

    key_base = "single"
    max_concurrency = 1


class Urgent(Actor):
    key_base = "urgent"
    priority = 0


class NameOf(Primer):
    """An author's name: a source that `save()` changes."""

    key_base = "name_of"
    parameters = [IntegerParameter("id")]
    depends_on = [On(Author, key="id")]

    def compute(self, key: Key) -> Any:
        number = begin(str(key))
        name = Author.objects.values_list("name", flat=True).filter(pk=key.params["id"]).first()
        _stop(str(key), number)
        tell("end", str(key), number, "done")
        return name


class Eager(NameOf):
    """The same, refreshed when its row is saved."""

    key_base = "eager"
    depends_on = [On(Author, key="id", then="refresh")]


class Roster(Primer):
    """All authors: a saved row is told to the whole family, since it names no product."""

    key_base = "roster"
    parameters = [StringParameter("name")]
    depends_on = [On(Author)]

    def compute(self, key: Key) -> Any:
        number = begin(str(key))
        count = Author.objects.count()
        _stop(str(key), number)
        tell("end", str(key), number, "done")
        return count


class Greeting(Primer):
    """Made from a name, which it reads."""

    key_base = "greeting"
    parameters = [IntegerParameter("id")]

    def compute(self, key: Key) -> Any:
        number = begin(str(key))
        name = Cache.get_instance().get(f"name_of/{key.params['id']}")
        _stop(str(key), number)
        tell("end", str(key), number, "done")
        return f"Hello {name}"


class AuthorCount(Primer):
    """Augmented in place: how many authors there are."""

    key_base = "author_count"
    depends_on = [On(Author, then="augment")]

    def compute(self, key: Key) -> Any:
        number = begin(str(key))
        count = Author.objects.count()
        _stop(str(key), number)
        tell("end", str(key), number, "done")
        return count

    def augment(self, key: Key, value: Any, changes: Any) -> Any:
        return value + sum((one.new is not None) - (one.old is not None) for one in changes)


def _stop(key: str, number: int) -> None:
    """Hold where the script says so: after the source was read."""
    for step, *given in script_of(key, number):
        if step == "hold":
            tell("at", key, number, given[0])
            while not (stage() / given[0]).exists():
                time.sleep(0.005)
        elif step == "sleep":
            time.sleep(given[0])
        elif step == "fail":
            raise ValueError(given[0])


# What stands in KCK_TEST_TIMED has a schedule: a number of seconds, or a cron expression in Berlin's time.
TIMED = json.loads(os.environ.get("KCK_TEST_TIMED") or "{}")


def timed(name: str) -> Any:
    """Return the schedule that this process has for a family, or None."""
    when = TIMED.get(name)
    if isinstance(when, str):
        return cron(when, tz="Europe/Berlin")
    return every(seconds=when) if when is not None else None


class Troupe(Actor):
    """A domain that stands in a file of the stage."""

    key_base = "troupe"
    version = int(os.environ.get("KCK_TEST_VERSION") or 1)
    schedule = timed("troupe")
    jitter = 0.0

    def domain(self) -> Any:
        try:
            return json.loads((stage() / "domain.json").read_text())
        except FileNotFoundError:
            return []


class Company(Actor):
    """A domain that is a product itself."""

    key_base = "company"
    schedule = timed("company")
    jitter = 0.0

    def domain(self) -> Any:
        return Cache.get_instance().get("act/members")


class Complete(Troupe):
    """Each period of its own, none left out."""

    key_base = "complete"
    schedule = timed("complete")
    catchup = "all"


class Coalescing(Actor):
    key_base = "coalescing"
    parameters = []
    schedule = timed("coalescing")


class Skipping(Actor):
    key_base = "skipping"
    parameters = []
    schedule = timed("skipping")
    catchup = "skip"


if "sweep" in TIMED:

    @scheduled(timed("sweep"), name="sweep")
    def sweep() -> Any:
        return play("sweep")


if "sweep_queue" in TIMED:

    @scheduled(timed("sweep_queue"), name="sweep_queue", overlap="queue")
    def sweep_queue() -> Any:
        return play("sweep_queue")


if "sweep_parallel" in TIMED:

    @scheduled(timed("sweep_parallel"), name="sweep_parallel", overlap="parallel")
    def sweep_parallel() -> Any:
        return play("sweep_parallel")


if os.environ.get("KCK_TEST_NEW") == "1":

    class Newcomer(Actor):
        """Declared by the newer release only."""

        key_base = "newcomer"


class Roll(Stock):
    """Accounts that pay, recorded by its schedule."""

    key_base = "roll"
    model, members = Account, Q(state="active")
    facets = [Facet("plan")]
    schedule = timed("roll")


class RollOf(Stock):
    """Those of a branch."""

    key_base = "roll_of"
    parameters = [ModelParameter("branch", Branch, field="branch_id")]
    model, members = Account, Q(state="active")
    schedule = timed("roll_of")


class Billing(Actor):
    """Made from a stock."""

    key_base = "billing"
    parameters = ()

    def compute(self, key: Key) -> Any:
        begin(str(key))
        return Cache.get_instance().get("roll")["value"]


class Ordered(Billing):
    """Refreshed, too, when that stock changes."""

    key_base = "billing_refreshed"
    depends_on = [On(Roll, then="refresh")]
