"""A page as a stream under a real ASGI server: what it says, to whom, and what it costs (feature 215)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core import checks
from django.db import connection
from django.test import Client, RequestFactory, override_settings

from kck_flow import Cache, Metric, Primer, clock
from kck_flow.dashboards import pulse, watching
from kck_flow.dashboards.visitors import anew
from kck_flow.models import Delta
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.store import workers
from kck_flow.store.session import Session, caller
from kck_flow.testing import freeze_time, registered, reset
from tests.accounts.models import Account
from tests.browser.served import Site, serving
from tests.counting.conftest import fold
from tests.harness.daemons import LIMIT
from tests.harness.wait import until

pytestmark = pytest.mark.django_db(transaction=True)
FAST = {"LIVE": "stream", "POLL_SECONDS": 0.05, "PERMISSION": "public"}


class Listener:
    """Somebody who listens to a page's stream. ``said`` are its events, ``(name, id, data)`` each."""

    def __init__(self, site: Site, place: str = "products/trial", **headers: str) -> None:
        self.said: list[tuple[str, str, Any]] = []
        self.beats, self.over, self.status, self.head = 0, False, 0, ""
        self._heard = threading.Condition()
        self._socket = socket.create_connection(("127.0.0.1", site.port), LIMIT)
        lines = [f"GET /x/y/{place} HTTP/1.1", f"Host: localhost:{site.port}", "Accept: text/event-stream"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while (line := self._file.readline().strip()) != b"":
            self.head += line.decode().lower() + "\n"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        id = name = ""
        try:
            for raw in self._file:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("id: "):
                    id = line[4:]
                if line.startswith("event: "):
                    name = line[7:]
                if line.startswith("data: "):
                    with self._heard:
                        self.said.append((name, id, json.loads(line[6:])))
                        self._heard.notify_all()
                if line == "0":
                    break
        except (OSError, ValueError):
            pass
        with self._heard:
            self.over = True
            self._heard.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._heard:
            assert self._heard.wait_for(condition, LIMIT), (self.said, self.over)

    def wait_for(self, name: str, count: int = 1) -> tuple[str, str, Any]:
        self.wait(lambda: sum(one[0] == name for one in self.said) >= count)
        return [one for one in self.said if one[0] == name][count - 1]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture(scope="module")
def site(django_db_setup: None, django_db_blocker: Any) -> Iterator[Site]:
    with django_db_blocker.unblock(), serving(FAST) as one:
        yield one
        reset()


def test_a_stream_says_what_has_changed_and_not_to_what(site: Site) -> None:
    listener = Listener(site)
    assert (listener.status, "text/event-stream" in listener.head) == (200, True)
    assert "x-accel-buffering: no" in listener.head
    listener.wait_for("ready")
    with connection.cursor() as cursor:  # whoever writes
        Account.objects.create()
        cursor.execute("UPDATE accounts_account SET plan = 'pro'")
    _name, id, data = listener.wait_for("changed")
    assert data == {"keys": ["trial"]}
    assert id
    listener.close()


def test_whoever_comes_again_is_told_only_of_what_was_missed(site: Site) -> None:
    Cache.get_instance().refresh("trial")  # counted, and not about to be
    first = Listener(site)
    at = first.wait_for("ready")[1]
    first.close()
    again = Listener(site, Last_Event_ID=at)
    assert again.wait_for("ready")[1] == at
    again.close()
    Account.objects.create()
    missed = Listener(site, Last_Event_ID=at)
    assert missed.wait_for("changed")[2] == {"keys": ["trial"]}
    assert not [one for one in missed.said if one[0] == "ready"]
    missed.close()


def test_a_fold_changes_nothing_and_says_nothing(site: Site) -> None:
    key = registry.key("active")
    Cache.get_instance().get(key)
    Account.objects.create(plan="pro", state="active")
    before = watching.look([key])
    assert Delta.objects.exists()
    fold()
    assert not Delta.objects.exists()
    assert watching.look([key]) == before
    Account.objects.update(plan="free")
    assert watching.look([key]) != before  # no more and no fewer of them: other facets


def test_fifty_listen_and_one_looks() -> None:
    with serving({**FAST, "LIVE_CLIENTS": 50}) as site:
        listeners = [Listener(site) for _ in range(50)]
        for one in listeners:
            one.wait_for("ready")
        Account.objects.create()
        for one in listeners:
            one.wait_for("changed")
        # What the pages were made with, and whoever was asked, is given back. There are the cache's own two
        # connections, that of its wakes, and that of the looks.
        until(lambda: _connections(site) <= 4, "the connections to be given back")
        refused = Listener(site)
        assert refused.status == 503
        assert "retry-after" in refused.head
        for one in listeners:
            one.close()
        until(lambda: Listener(site).status == 200, "a place among them")


def test_who_may_not_see_it_any_more_hears_nothing_more() -> None:
    with serving({**FAST, "PERMISSION": "staff"}) as site:
        assert Listener(site).status == 401
        user = User.objects.create_user("Ada", is_staff=True)
        client = Client()
        client.force_login(user)
        cookie = f"sessionid={client.cookies['sessionid'].value}"
        listener = Listener(site, Cookie=cookie)
        listener.wait_for("ready")
        Account.objects.create()
        listener.wait_for("changed")
        User.objects.update(is_staff=False)
        Account.objects.create()
        listener.wait(lambda: listener.over)
        assert [name for name, *_ in listener.said] == ["begin", "ready", "changed"]
        assert Listener(site, Cookie=cookie).status == 403
        User.objects.update(is_staff=True)
        again = Listener(site, Cookie=cookie)
        again.wait_for("ready")
        client.logout()
        Account.objects.create()
        again.wait(lambda: again.over)
        assert [name for name, *_ in again.said] == ["begin", "ready"]


def test_the_database_goes_and_comes_and_the_stream_stays(site: Site) -> None:
    listener = Listener(site)
    listener.wait_for("ready")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s",
            [site.name],
        )
    Account.objects.create()
    listener.wait_for("changed")
    listener.close()


def test_under_wsgi_there_is_none_and_no_page_asks_for_it(client: Client) -> None:
    with override_settings(KCK_FLOW=FAST, ROOT_URLCONF="tests.pages.urls"):
        page = client.get("/x/y/products/trial")
        assert b"data-etag=" in page.content
        assert b"data-stream" not in page.content
        answer = client.get("/x/y/products/trial", headers={"Accept": "text/event-stream"})
        assert answer.status_code == 406
        assert answer.json()["title"] == "No stream"
        told = [one for one in checks.run_checks(tags=["kck"]) if one.id == "kck_flow.W005"]
        assert len(told) == 1
        assert "every 30 s" in told[0].msg
        with override_settings(ASGI_APPLICATION="project.asgi.application"):
            assert not [one for one in checks.run_checks(tags=["kck"]) if one.id == "kck_flow.W005"]


class Daily(Metric):
    """A number a day."""

    key_base, tz = "live_daily", "UTC"

    def compute(self, key: Any, span: Any) -> int:
        return span.start.day


class Brief(Primer):
    """Fresh for a moment."""

    key_base, soft_expire = "live_brief", timedelta(hours=1)

    def compute(self, key: Any) -> int:
        return 1


def test_a_new_record_is_a_change_and_so_is_what_the_clock_alone_changes(transactional_db: None) -> None:
    with registered(Daily, Brief):
        daily, brief = registry.key("live_daily"), registry.key("live_brief")
        before = watching.look([daily, brief])
        assert watching.look([daily, brief]) == before
        list(collecting.collect(["live_daily"]))
        after = watching.look([daily, brief])
        assert after[daily] != before[daily]
        assert after[brief] == before[brief]
        Cache.get_instance().get(brief)
        fresh = watching.look([brief])
        assert fresh[brief] != after[brief]
        with freeze_time(clock.now() + timedelta(hours=2)):
            assert watching.look([brief]) != fresh
    reset()


def test_many_products_are_looked_at_in_as_many_statements_as_few(transactional_db: None) -> None:
    keys = [
        registry.key(name) for name in ("trial", "active", "signing_up", "book_count", "converting", "money")
    ]

    def statements(asked: list[Any]) -> int:
        seen: list[str] = []
        with patched_rows(seen):
            watching.look(asked)
        return len(seen)

    assert statements([keys[0], keys[3]]) == statements(keys) == 2


def patched_rows(seen: list[str]) -> Any:
    before = Session.rows

    def rows(self: Session, name: str, *args: Any, **parts: Any) -> Any:
        seen.append(name)
        return before(self, name, *args, **parts)

    return mock.patch.object(Session, "rows", rows)


def by_token(request: Any) -> Any:
    return User.objects.filter(username=request.headers["Authorization"].removeprefix("Bearer ")).first()


def test_who_asks_is_looked_up_again(transactional_db: None) -> None:
    user = User.objects.create_user("Mary", is_staff=True)
    request: Any = RequestFactory().get("/", headers={"Authorization": "Bearer Mary"})
    assert anew(request) is None  # a project without sessions
    request.user = AnonymousUser()
    assert anew(request) is request.user
    request.user = user
    User.objects.update(is_staff=False)
    assert not anew(request).is_staff
    with override_settings(KCK_FLOW={"API_AUTH": f"{__name__}.by_token"}):
        assert anew(request) == user
        User.objects.all().delete()
        assert not anew(request).is_authenticated
    assert not anew(request).is_authenticated


def test_pages_that_are_not_kept_current_say_nothing_to_a_script(client: Client) -> None:
    with override_settings(KCK_FLOW={"LIVE": False, "PERMISSION": "public"}, ROOT_URLCONF="tests.pages.urls"):
        html = client.get("/x/y/products/trial").content
    assert b"data-etag" not in html
    assert b"kck-pulse" not in html


def test_the_staff_is_told_how_products_are_refreshed_where_no_worker_lives(transactional_db: None) -> None:
    staff = User(is_staff=True)
    with mock.patch.object(pulse, "_lives", (float("-inf"), True)):
        assert pulse.idle(staff) == "Refreshes on read; start a worker for live updates:"
        assert pulse.idle(User()) == pulse.idle(None) == pulse.idle(AnonymousUser()) == ""
        with override_settings(KCK_FLOW={"REFRESH_IN_PROCESS": False}):
            assert pulse.idle(staff) == "Nothing is refreshed; start a worker:"
    with mock.patch.object(pulse, "_lives", (float("-inf"), True)):
        number = workers.register(
            caller("default"), host="h", pid=1, version="", lanes=[], products=None, executor="threads", concurrency=1,
            mode="poll",
        )  # fmt: skip
        assert pulse.idle(staff) == ""
        workers.leave(caller("default"), number)


def _connections(site: Site) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [site.name])
        return int(cursor.fetchone()[0])
