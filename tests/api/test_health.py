"""Whether all is well, as a load balancer asks: 200, or 503 and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client, RequestFactory, override_settings
from django.urls import path

from kck_flow import Cache, Primer
from kck_flow.contrib import health
from kck_flow.store import workers
from kck_flow.store.session import caller
from kck_flow.testing import freeze_time, registered, reset, run_worker
from tests.harness.processes import Crew
from tests.pages.conftest import SITE

pytestmark = pytest.mark.django_db
urlpatterns = [
    path("health", health.health),
    path("patient", health.view(overdue=timedelta(hours=5))),
]
T0 = datetime(2026, 3, 10, tzinfo=UTC)


class Wanted(Primer):
    key_base = "hl_wanted"

    def compute(self, key: Any) -> int:
        return 1


@pytest.fixture(autouse=True)
def site() -> Any:
    reset()
    with override_settings(**{**SITE, "ROOT_URLCONF": "tests.api.test_health"}), registered(Wanted):
        yield
    reset()


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("watch", is_staff=True))
    return client


def a_worker() -> None:
    told: dict[str, Any] = {"host": "here", "pid": 1, "version": "1", "lanes": [5], "products": None}
    workers.register(caller("default"), **told, executor="process", concurrency=1, mode="poll")


def test_all_is_well_where_nothing_is_due(client: Client) -> None:
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["Cache-Control"] == "no-store"


def test_what_is_due_and_nobody_there_to_do_it_is_not_well(client: Client, staff: Client) -> None:
    Cache.get_instance().request_refresh("hl_wanted")
    told = staff.get("/health")
    assert told.status_code == 503
    default = told.json()["databases"]["default"]
    assert default["problems"] == ["a refresh is due and no worker was seen for 20 s: manage.py kck worker"]
    assert (default["due"], default["workers"], default["parked"]) == (1, 0, 0)
    client.logout()
    assert client.get("/health").json() == {"status": "failing"}  # and nothing else, to nobody in particular
    a_worker()
    assert client.get("/health").status_code == 200
    run_worker()
    assert client.get("/health").status_code == 200


def test_what_is_due_for_too_long_is_not_well_however_many_workers_there_are(staff: Client) -> None:
    with freeze_time(T0) as clock:
        Cache.get_instance().request_refresh("hl_wanted")
        clock.move(minutes=11)
        a_worker()
        told = staff.get("/health")
        assert told.status_code == 503
        (problem,) = told.json()["databases"]["default"]["problems"]
        assert problem == (
            "the oldest refresh has been due for 660 s, and may for 600: manage.py kck refreshes"
        )
        assert staff.get("/patient").status_code == 200


def asked() -> list[Any]:
    """Return status and answer, as anybody gets them where the project lets anybody see."""
    request = RequestFactory().get("/health")
    request.user = AnonymousUser()
    with override_settings(KCK_FLOW={"PERMISSION": "public"}):
        response = health.health(request)
    return [response.status_code, json.loads(response.content)]


def test_a_database_that_does_not_answer_is_told() -> None:
    with Crew("postgresql://nobody:x@127.0.0.1:1/none") as crew:
        status, told = crew.spawn(asked).result()
    assert (status, told["status"]) == (503, "failing")
    (problem,) = told["databases"]["default"]["problems"]
    assert problem.startswith("the database does not answer: ")
    assert "onnection" in problem
    assert "\n" not in problem


def test_nothing_is_changed_by_asking(client: Client) -> None:
    assert client.post("/health").status_code == 405
    assert client.head("/health").status_code == 200


def test_a_limit_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="overdue is a duration above zero"):
        health.view(overdue=timedelta(0))
