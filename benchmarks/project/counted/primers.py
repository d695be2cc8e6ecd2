"""The stocks and flows of the counting scenarios."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from benchmarks.project.counted.models import Divided, Event, Signalled, Sixteen, Tracked
from kck_flow import Facet, Flow, ModelTracker, Stock

FACETS = [Facet("plan"), Facet("country"), Facet("shop_id")]


class Active(Stock):
    """Active accounts by three facets."""

    key_base = "bench_active"
    model, members = Tracked, Q(state="active")
    facets = FACETS


class ActiveBySignals(Stock):
    """The same, told by a function."""

    key_base, capture = "bench_signalled", "signals"
    model = Signalled
    facets = FACETS


def _states(previous: Any, current: Any) -> tuple[tuple[Any], tuple[Any]]:
    before, after = (
        (ActiveBySignals if row is not None and row.state == "active" else None,)
        for row in (previous, current)
    )
    return before, after


ModelTracker(Signalled, ["state"], _states, [], stocks=[ActiveBySignals])


class Happened(Stock):
    """Events."""

    key_base = "bench_events"
    model = Event


class Daily(Flow):
    """Events by the day."""

    key_base = "bench_daily"
    sources, sinks, at = [None], [Happened], "at"
    window, tz = "day", "UTC"


class Hourly(Daily):
    """Events by the hour."""

    key_base = "bench_hourly"
    window = "hour"


def _sixteen(model: type, name: str, members: list[Q]) -> list[type[Stock]]:
    return [
        type(
            f"{name.title()}{number}",
            (Stock,),
            {
                "__module__": __name__,
                "__doc__": f"Accounts, {name} {number}.",
                "key_base": f"bench_{name}_{number}",
                "model": model,
                "members": one,
                "facets": FACETS,
            },
        )
        for number, one in enumerate(members)
    ]


globals().update(
    {
        stock.__name__: stock
        for stock in (
            # The first of them is the state that all rows of the scenarios are in.
            *_sixteen(Divided, "one", [Q(state=f"state{n}" if n else "active") for n in range(16)]),
            *_sixteen(Sixteen, "each", [Q(state="active") & ~Q(note=f"never {n}") for n in range(16)]),
        )
    }
)
