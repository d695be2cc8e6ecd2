"""Flows whose augment is their own: a window's value is what it makes of its events, kept up and computed alike."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import checks
from django.db.models import Q

from kck_flow import Cache, Facet, Flow, IntegerParameter, On, Primer, Stock, StringParameter
from kck_flow.changes import rows, triggers
from kck_flow.models import Event, Pending
from kck_flow.testing import assert_augment_equals_compute, assert_computes, registered, run_worker
from tests.accounts.models import Account, Branch
from tests.commands.conftest import kck
from tests.core.conftest import Thread

pytestmark = pytest.mark.django_db(transaction=True)
cache = Cache.get_instance()


class OwnTrial(Stock):
    """Accounts on trial."""

    key_base, model, members = "own_trial", Account, Q(state="trial")


class OwnActive(Stock):
    """Accounts that pay."""

    key_base, model, members = "own_active", Account, Q(state="active")


class Converting(Flow):
    """Accounts that begin to pay: how many, and the one with the largest number."""

    key_base, sources, sinks = "own_converting", [OwnTrial], [OwnActive]
    facets = [Facet("plan")]
    record_events = True

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        value = super().augment(key, value, changes)
        for change in changes:
            value["largest"] = max(value.get("largest", 0), int(change.new.subject_id))
        return value


class OfBranch(Flow):
    """The same by branch and day in Berlin; whose they are."""

    key_base, sources, sinks = "own_of_branch", [OwnTrial, None], [OwnActive]
    parameters = [IntegerParameter("branch_id")]
    window, tz, record_events = "day", "Europe/Berlin", True

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        value = super().augment(key, value, changes)
        who = {*value.get("who", []), *(change.new.subject_id for change in changes)}
        return {**value, "who": sorted(who)}


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    with registered(OwnTrial, OwnActive, Converting, OfBranch):
        triggers.install("default")
        rows.install("default")
        yield
    triggers.install("default")
    rows.install("default")


def window(name: str, at: datetime | None = None, **params: Any) -> str:
    return cache.build_key(name, window=at or datetime.now(UTC), **params)


def some(state: str, n: int, **more: Any) -> list[Account]:
    return Account.objects.bulk_create([Account(state=state, **more) for _ in range(n)])


def test_a_window_is_what_augment_makes_of_its_events_and_nothing_is_computed_again() -> None:
    key = window("own_converting")
    first, *others = some("trial", 4, plan="pro")
    assert cache.get(key) == {"value": 0, "facets": {"plan": {}}}
    with assert_computes(0, "own_converting"):
        Account.objects.filter(pk=first.pk).update(state="active")
        assert cache.get(key) == {"value": 1, "facets": {"plan": {"pro": 1}}, "largest": first.pk}
        Account.objects.filter(pk__in=[one.pk for one in others]).update(state="active", plan=None)
        run_worker()
        value = cache.get(key)
    assert value == {"value": 4, "facets": {"plan": {"pro": 1, None: 3}}, "largest": others[-1].pk}
    assert not Pending.objects.filter(kind="change").exists()
    assert_augment_equals_compute(key)
    # What is counted is counted as ever.
    assert cache.get("own_converting") == {"value": 4, "facets": {"plan": {"pro": 1, None: 3}}}
    now = datetime.now(UTC)
    assert [point.value for point in cache.series("own_converting", now, now + timedelta(seconds=1))] == [4]
    assert cache.get_many([key, "own_converting"]) == {
        key: value,
        "own_converting": cache.get("own_converting"),
    }
    assert cache.explain(key)["state"] == "fresh"


def test_by_key_and_by_the_day_of_a_zone() -> None:
    north, south = Branch.objects.create(name="North"), Branch.objects.create(name="South")
    keys = [window("own_of_branch", branch_id=one.pk) for one in (north, south)]
    assert (
        keys[0]
        == f"own_of_branch/{north.pk}/{OfBranch().windows.text_of(OfBranch().windows.start_of(datetime.now(UTC)))}"
    )
    assert [cache.get(key)["value"] for key in keys] == [0, 0]
    (new,) = some("active", 1, branch=north)
    (tried,) = some("trial", 1, branch=south)
    tried.state = "active"
    tried.save()
    with assert_computes(0, "own_of_branch"):
        assert cache.get(keys[0]) == {"value": 1, "facets": {"source": {None: 1}}, "who": [str(new.pk)]}
        assert cache.get(keys[1]) == {
            "value": 1,
            "facets": {"source": {"own_trial": 1}},
            "who": [str(tried.pk)],
        }
    for key in keys:
        assert_augment_equals_compute(key)


def test_at_random_with_writers_and_folds_at_once() -> None:
    accounts = some("trial", 20)
    key = window("own_converting")
    cache.get(key)

    def move(number: int) -> None:
        for account in accounts[number::4]:
            Account.objects.filter(pk=account.pk).update(state="active")
            Account.objects.filter(pk=account.pk).update(state="trial")
            Account.objects.filter(pk=account.pk).update(state="active")

    movers = [Thread(lambda n=n: move(n)) for n in range(4)]
    while any(mover.is_alive() for mover in movers):
        run_worker(["own_converting"])
        cache.get(key)
    for mover in movers:
        mover.result()
    if window("own_converting") == key:  # the hour has not gone by meanwhile
        assert cache.get(key)["value"] == 40
    assert_augment_equals_compute(key)


def test_pruned_events_leave_the_value_and_cannot_make_it_again() -> None:
    key = window("own_converting")
    some("trial", 3)
    Account.objects.update(state="active")
    value = cache.get(key)
    assert value["value"] == 3
    assert kck("prune", "--events", "0s").code == 0
    assert not Event.objects.exists()
    run_worker()
    assert cache.get(key) == value
    compared = kck("check", "--augment", key)
    assert (compared.code, "0 events of them are left" in compared.out) == (0, True)
    assert "0 equal, 0 not, 1 skipped" in compared.out
    cache.unset(key)
    with pytest.raises(Exception, match="3 transitions were counted, and 0 events of them are left"):
        cache.get(key)


def test_what_depends_on_a_window_follows_it() -> None:
    key = window("own_converting")

    class Shown(Primer):
        key_base = "own_shown"

        def compute(self, _: Any) -> Any:
            return cache.get(key).get("largest", 0)

    with registered(Shown):
        (account,) = some("trial", 1)
        assert cache.get("own_shown") == 0
        Account.objects.update(state="active")
        run_worker()
        assert cache.get("own_shown") == account.pk


def test_what_cannot_be_is_told() -> None:
    class Untold(Flow):
        key_base, sources, sinks = "own_untold", [OwnTrial], [OwnActive]

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            return value

    class ByText(Untold):
        key_base, parameters, record_events = "own_by_text", [StringParameter("plan")], True

    class Waits(Primer):
        key_base, depends_on = "own_waits", [On("own_active", then="augment")]

        def compute(self, key: Any) -> Any:
            return 0

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            return value

    with registered(Untold, ByText, Waits):
        told = "\n".join(found.msg for found in checks.run_checks(tags=["kck"]))
    assert "events are all that it is told of" in told
    assert "no trigger can spell the parameter 'plan'" in told
    assert "waits for the changes of 'own_active', which is counted" in told


class Won(Flow):
    """Accounts that begin to pay, as yesterday's code has it: it does not ask for their plan."""

    key_base, sources, sinks = "own_won", [OwnTrial], [OwnActive]
    record_events = True

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        value = super().augment(key, value, changes)
        return {**value, "who": sorted({*value.get("who", []), *(c.new.subject_id for c in changes)})}


class WonByPlan(Won):
    """As today's code has it."""

    key_base = "own_won"
    facets = [Facet("plan")]


def test_a_window_that_began_before_a_facet_was_asked_for_is_made_of_all_its_events() -> None:
    old, waiting, new = some("trial", 3, plan="pro")
    with registered(Won):
        triggers.install("default")
        rows.install("default")
        key = window("own_won")
        Account.objects.filter(pk=old.pk).update(state="active")
        assert cache.get(key)["value"] == 1
        Account.objects.filter(pk=waiting.pk).update(state="active")
    with registered(WonByPlan):
        triggers.install("default")
        rows.install("default")
        Account.objects.filter(pk=new.pk).update(state="active")
        run_worker()
        value = cache.get(key)
        assert value["value"] == 3
        assert value["who"] == sorted(str(one.pk) for one in (old, waiting, new))
        cache.refresh(key)
        assert cache.get(key) == {
            "value": 3,
            "facets": {"plan": {"pro": 1}},  # of the others nobody knows
            "who": value["who"],
        }
