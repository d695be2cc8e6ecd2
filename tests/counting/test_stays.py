"""How long rows were in the stocks that they left: by events, as a walk through each row's life tells it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q

from kck_flow import Cache, Flow, Process, Stock
from kck_flow.cache.processes import stays
from kck_flow.changes import triggers
from kck_flow.registry import registry
from kck_flow.store import events
from kck_flow.testing import registered, reset
from tests.accounts.models import Account, AccountEvent, ForgetfulEvent

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class First(Stock):
    key_base, model, members = "st_first", Account, Q(state="a")


class Second(Stock):
    key_base, model, members = "st_second", Account, Q(state="b")


class Coming(Flow):
    key_base, sources, sinks, at = "st_coming", [None], [First], "joined_at"


class Onward(Flow):
    key_base, sources, sinks, at = "st_onward", [First], [Second], "joined_at"


class Back(Flow):
    key_base, sources, sinks, at = "st_back", [Second], [First], "joined_at"


class Going(Flow):
    key_base, sources, sinks, at = "st_going", [First, Second], [None], "joined_at"


class Whole(Process):
    key_base, stocks, flows = "st_whole", [First, Second], [Coming, Onward, Back, Going]


FLOWS = (Coming, Onward, Back, Going)


@pytest.fixture(params=[True, AccountEvent, ForgetfulEvent], ids=["shared", "own", "odd"])
def kept(request: Any) -> Iterator[None]:
    reset()
    for one in FLOWS:
        one.record_events = request.param
    with registered(First, Second, *FLOWS, Whole):
        triggers.install("default")
        Cache.get_instance().refresh("st_whole")
        yield
    for one in FLOWS:
        one.record_events = False
    reset()


def lives(number: int, seed: int) -> dict[str, list[tuple[datetime, float]]]:
    """Let accounts live at random; returns when rows left each stock, and after how many seconds."""
    draw = random.Random(seed)
    found: dict[str, list[tuple[datetime, float]]] = {"st_first": [], "st_second": []}
    name = {"a": "st_first", "b": "st_second"}
    for _each in range(number):
        at = T0 + HOUR * draw.randrange(200)
        one = Account.objects.create(state="a", joined_at=at)
        since = at
        for _step in range(draw.randrange(4)):
            at = since + HOUR * draw.randrange(1, 100)
            was, state = one.state, draw.choice(["a", "b", "gone"])
            Account.objects.filter(pk=one.pk).update(state=state, joined_at=at)
            one.state = state
            if state == was:
                continue
            found[name[was]].append((at, (at - since).total_seconds()))
            since = at
            if state == "gone":
                break
    return found


@pytest.mark.once("newest")
def test_the_median_is_that_of_all_lives(kept: None) -> None:
    found = lives(400, seed=7)
    start, end = T0 + HOUR * 40, T0 + HOUR * 300
    told = stays(registry.key("st_whole"), registry.primer("st_whole"), start, end)  # type: ignore[arg-type]
    for name, left in found.items():
        within = [seconds for at, seconds in left if start <= at < end]
        assert len(within) > 20
        assert (told[name].left, told[name].known) == (len(within), len(within))
        assert told[name].seconds == pytest.approx(statistics.median(within))


def test_who_came_before_events_were_kept_is_named(kept: None) -> None:
    Account.objects.create(state="a", joined_at=T0)
    Account.objects.create(state="a", joined_at=T0 + HOUR)
    for model in (events.SHARED.relation, '"Odd events é"', "accounts_accountevent"):
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {model} WHERE at = %s", [T0])
    Account.objects.update(state="b", joined_at=T0 + HOUR * 5)
    told = stays(registry.key("st_whole"), registry.primer("st_whole"), T0, T0 + HOUR * 10)["st_first"]  # type: ignore[arg-type]
    assert told == events.Stay("st_first", 2, 1, 4 * 3600.0)


def test_where_a_flow_keeps_none_nothing_is_told() -> None:
    reset()
    for one in FLOWS[:3]:
        one.record_events = True
    with registered(First, Second, *FLOWS, Whole):
        triggers.install("default")
        Cache.get_instance().refresh("st_whole")
        Account.objects.create(state="a", joined_at=T0)
        Account.objects.update(state="b", joined_at=T0 + HOUR)
        assert stays(registry.key("st_whole"), registry.primer("st_whole"), T0, T0 + HOUR * 9) == {}  # type: ignore[arg-type]
    for one in FLOWS:
        one.record_events = False
    reset()
