"""Events of flows that a ModelTracker feeds: kept in the transaction of the save, and functions called for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import transaction

from kck_flow import Cache, Facet, Flow, ModelParameter, ModelTracker
from kck_flow.changes import triggers
from kck_flow.models import Event
from kck_flow.testing import registered, run_worker
from tests.accounts.models import Branch, Kettle

pytestmark = pytest.mark.django_db(transaction=True)
COLD, HOT = 0, 1
told: list[tuple[Any, Any, Any]] = []
broken: list[bool] = []


def tell(kettle: Any, source: Any, sink: Any) -> None:
    if broken:
        raise ValueError("no line")
    told.append((kettle and kettle.pk, source, sink))


class Heated(Flow):
    """Kettles that get hot."""

    key_base, capture = "tracked_heated", "signals"
    sources, sinks, facets, record_events = [COLD, None], [HOT], [Facet("colour"), Facet("lid_open")], True


class Gone(Flow):
    """Kettles that go, of a branch."""

    key_base, capture, at = "tracked_gone", "signals", "heated_at"
    parameters = [ModelParameter("branch", Branch, field="branch_id")]
    sources, sinks, event_callables = [COLD, HOT], [None, "lent"], [tell]


def states(previous: Any, current: Any) -> Any:
    def of(row: Any) -> tuple[Any, ...]:
        if row is None:
            return (None,)
        return ("lent",) if row.degrees < 0 else (HOT,) if row.degrees >= 100 else (COLD,)

    return of(previous), of(current)


ModelTracker(Kettle, ["degrees"], states, [Heated, Gone])


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    told.clear()
    broken.clear()
    with registered(Heated, Gone):
        triggers.install("default")
        yield
    triggers.install("default")


def test_each_transition_is_an_event_with_what_the_row_was_and_a_rollback_takes_it_back() -> None:
    kettle = Kettle.objects.create(colour="red")
    kettle.degrees = 100
    kettle.save()
    kettle.save()  # nothing has moved
    kettle.colour = "blue"
    kettle.save()
    with suppress(ZeroDivisionError), transaction.atomic():
        Kettle.objects.create(degrees=120)
        raise ZeroDivisionError
    (event,) = Event.objects.filter(key_base="tracked_heated")
    assert (event.source, event.sink, event.facets) == ("0", "1", {"colour": "red", "lid_open": False})
    assert (event.subject_type, event.subject_id, event.callback_state) == (
        "accounts.Kettle",
        str(kettle.pk),
        "",
    )
    assert Cache.get_instance().get("tracked_heated")["value"] == 1
    kettle.delete()
    assert Event.objects.filter(key_base="tracked_heated").count() == 1  # it stays when the row goes


def test_functions_are_called_after_the_commit_and_again_where_they_raise(capsys: Any) -> None:
    branch = Branch.objects.create(name="North")
    at = datetime(2026, 3, 1, 10, tzinfo=UTC)
    kettle = Kettle.objects.create(branch=branch, heated_at=at)
    pk = kettle.pk
    kettle.degrees = -1
    kettle.save()
    (event,) = Event.objects.filter(key_base="tracked_gone")
    # Where it came to has no instant of its own but the row's.
    assert (event.args, event.at, event.sink, event.callback_state) == (
        {"branch": branch.pk},
        at,
        "lent",
        "due",
    )
    assert told == []
    broken.append(True)
    run_worker()
    assert told == []
    broken.clear()
    Kettle.objects.create(branch=branch).delete()
    call_command("kck", "retry", f"!events:tracked_gone/{event.pk}")
    run_worker()
    assert set(told) == {(None, "0", None), (pk, "0", "lent")}
    assert len(told) == 2
    # It keeps none: what was called for has done its duty.
    assert not Event.objects.filter(key_base="tracked_gone").exists()
    assert Cache.get_instance().get(f"tracked_gone/{branch.pk}")["value"] == 2


def test_a_table_of_their_own_they_have_not() -> None:
    class Typed(Heated):
        key_base, record_events = "tracked_typed", "accounts.AccountEvent"
        tracker = None

    ModelTracker(Kettle, ["degrees"], states, [Typed])
    with registered(Typed):
        messages = [found.msg for found in checks.run_checks(tags=["kck"]) if found.id == "kck_flow.E010"]
    assert any("keeps events in the table that flows share" in message for message in messages)
