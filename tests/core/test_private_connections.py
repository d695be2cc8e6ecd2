"""The cache's own connections: five traps, each closed (`core.md`, decision 9), and what they may never do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache
from kck_flow.errors import KckFlowError
from kck_flow.models import DataProduct, Refresh
from kck_flow.store import private
from tests.core.conftest import Declared, Gate, Thread
from tests.harness.daemons import ROOT
from tests.shop.models import Author

really = pytest.mark.django_db(transaction=True)


def name_of_database(session: Any) -> str:
    return str(session.run("SELECT current_database()")[0][0])


@pytest.fixture(autouse=True)
def _begin_without_any() -> Iterator[None]:
    private.close_all()
    yield
    private.close_all()


def open_to_the_server() -> int:
    """How many sessions the cache's own connections of this process have open."""
    return sum(len(pool.idle) + pool.lent for (pid, *_), pool in private._pools.items() if pid == os.getpid())


class Stop(Exception):
    """What goes wrong in the middle."""


def stop_after(session: Any, text: str) -> None:
    session.run(text)
    raise Stop


# -- (a) made at import, a copy would point at the production database


@really
def test_they_go_where_the_alias_points_now_and_not_where_it_pointed_when_the_process_began() -> None:
    with private.session("default") as session:
        assert name_of_database(session) == connection.settings_dict["NAME"]
        assert name_of_database(session).startswith("test_")


@really
def test_a_change_of_the_aliass_database_is_followed(monkeypatch: Any) -> None:
    with private.session("default") as session:
        before = name_of_database(session)
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", "postgres")
    with private.session("default") as session:
        assert name_of_database(session) == "postgres" != before
    monkeypatch.undo()
    with private.session("default") as session:
        assert name_of_database(session) == before


def test_importing_and_setting_up_opens_no_connection() -> None:
    script = (
        "import django; django.setup();"
        "from django.db import connections;"
        "from kck_flow import Cache; Cache.get_instance();"
        "from kck_flow.store import private;"
        "assert not private._pools, private._pools;"
        "assert all(c.connection is None for c in connections.all()), 'opened'"
    )
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": "postgresql://127.0.0.1:1/none",
    }
    subprocess.run([sys.executable, "-c", script], env=env, cwd=ROOT, check=True)


# -- (b) left open, it would keep the test database from being dropped


@really
def test_all_are_closed_before_django_drops_its_test_database() -> None:
    with private.session("default") as one, private.session("default") as two:
        assert one.connection is not two.connection
        kept = [one.connection, two.connection]
    assert open_to_the_server() == 2
    with connection._nodb_cursor() as cursor:  # what Django's destroy_test_db opens
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> ALL(%s)",
            [connection.settings_dict["NAME"], _own_pids()],
        )
    assert open_to_the_server() == 0
    assert all(one.connection is None for one in kept)


def _own_pids() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return [cursor.fetchone()[0]]


@really
def test_those_unused_for_a_while_are_closed(settings: Any, monkeypatch: Any) -> None:
    with private.session("default"):
        pass
    assert open_to_the_server() == 1
    private.close_idle()
    assert open_to_the_server() == 1
    later = time.monotonic() + 31
    monkeypatch.setattr(private.time, "monotonic", lambda: later)
    private.close_idle()
    assert open_to_the_server() == 0


# -- (c) in a TestCase it would see nothing, and what it commits would survive


class InATestCase(TestCase):
    """As a user's suite has it: `setUpTestData`, a test, an atomic block inside the test."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.author = Author.objects.create(name="class")
        assert private.in_test_case()
        with pytest.raises(KckFlowError, match="test's own connection"), private.session("default"):
            pass

    def test_none_is_opened_and_everything_happens_on_the_tests_own(self) -> None:
        from kck_flow.testing import registered

        class Authors(_primer()):
            key_base = "authors_in_test_case"

            def compute(self, key: Any) -> Any:
                return Author.objects.count()

        cache = Cache.get_instance()
        with registered(Authors):
            assert cache.get("authors_in_test_case") == 1
            cache.set("any/1", 1)
            cache.request_refresh("authors_in_test_case")
            with transaction.atomic():
                assert private.in_test_case()
                Author.objects.create(name="inner")
                assert cache.refresh("authors_in_test_case").value == 2
            assert not cache.is_refreshing("authors_in_test_case")
            assert Refresh.objects.count() == 1
        assert open_to_the_server() == 0

    def test_what_one_test_stored_is_gone_in_the_next(self) -> None:
        assert DataProduct.objects.count() == 0
        assert Refresh.objects.count() == 0


def _primer() -> Any:
    from kck_flow import Primer

    return Primer


@really
def test_an_ordinary_transaction_is_no_test_case() -> None:
    with transaction.atomic():
        assert not private.in_test_case()


# -- (d) used from another thread it would refuse


@really
def test_one_that_a_thread_gave_back_serves_the_next(threads: Callable[..., Thread]) -> None:
    used = []

    def use() -> None:
        with private.session("default") as session:
            session.run("SELECT 1")
            used.append(session.connection)

    for _ in range(3):
        threads(use).result()
    use()
    assert len({id(one) for one in used}) == 1
    assert used[0] is not connection


@really
def test_there_are_at_most_two_and_who_comes_third_is_told_in_time(
    settings: Any, gate: Gate, threads: Callable[..., Thread]
) -> None:
    settings.KCK_FLOW = {"PRIVATE_CONNECTIONS": 2, "CLAIM_TIMEOUT": 0.1}

    def hold() -> None:
        with private.session("default"):
            gate.stop()

    holders = [threads(hold), threads(hold)]
    gate.reached(2)
    begun = time.monotonic()
    with pytest.raises(private.Busy, match="PRIVATE_CONNECTIONS"), private.session("default"):
        pass
    assert time.monotonic() - begun < 2
    with private.session("default", private.BEAT) as session:  # a crowd of readers cannot stop the beats
        assert session.run("SELECT 1") == [(1,)]
    waiting = threads(lambda: _use(timeout=20))
    gate.open()
    assert waiting.result() == 1
    for holder in holders:
        holder.result()
    assert open_to_the_server() == 3


def _use(timeout: float) -> int:
    with private.session("default", timeout=timeout) as session:
        return int(session.run("SELECT 1")[0][0])


# -- (e) Django's own pools are keyed by alias: a copy would draw from the application's


@really
def test_the_applications_pool_is_not_drawn_from(monkeypatch: Any) -> None:
    pytest.importorskip("psycopg_pool")
    monkeypatch.setitem(
        connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], "pool": True}
    )
    with private.session("default") as session:
        assert "pool" not in session.connection.settings_dict["OPTIONS"]
        assert session.connection.pool is None


@really
def test_the_option_is_taken_out_whatever_the_driver(monkeypatch: Any) -> None:
    seen: dict[str, Any] = {}
    original = connection.copy

    def copy(alias: str) -> Any:
        made = original(alias)
        made.settings_dict = {
            **made.settings_dict,
            "OPTIONS": {**made.settings_dict["OPTIONS"], "pool": {"min_size": 1}},
        }
        seen["made"] = made
        return made

    monkeypatch.setattr(connection, "copy", copy)
    with private.session("default"):
        assert "pool" not in seen["made"].settings_dict["OPTIONS"]


# -- and: bounded, never in the caller's transaction, never the parent's


@really
def test_a_lock_or_a_statement_that_takes_long_is_given_up(
    threads: Callable[..., Thread], gate: Gate
) -> None:
    Author.objects.create(name="a")

    def hold() -> None:
        with transaction.atomic():
            Author.objects.update(name="b")
            gate.stop()

    holder = threads(hold)
    gate.reached()
    begun = time.monotonic()
    with pytest.raises(Exception, match="lock timeout"), private.session("default") as session:
        session.run("UPDATE shop_author SET name = 'c'")
    assert time.monotonic() - begun < 2
    gate.open()
    holder.result()
    with private.session("default") as session:
        assert session.run("SHOW statement_timeout") == [("5s",)]
        assert session.run("SHOW transaction_isolation") == [("read committed",)]


@really
def test_one_that_broke_is_not_lent_again() -> None:
    with private.session("default") as session:
        (pid,) = session.run("SELECT pg_backend_pid()")[0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with private.session("default") as session:
        assert session.run("SELECT pg_backend_pid()")[0][0] != pid
    with pytest.raises(Stop), private.session("default") as session, session.transaction():
        stop_after(session, "SELECT pg_current_xact_id()")
    with private.session("default") as session:
        assert session.run("SELECT pg_current_xact_id_if_assigned()") == [(None,)]
    with (
        pytest.raises(Exception, match="nonsense"),
        private.session("default") as session,
        session.transaction(),
    ):
        session.run("SELECT nonsense")
    with private.session("default") as session:
        assert session.run("SELECT 1") == [(1,)]


@really
def test_a_savepoint_takes_back_its_own_part_and_no_more(declare: Declared) -> None:
    with private.session("default") as session, session.transaction():
        session.run("INSERT INTO shop_author (name) VALUES ('kept')")
        with pytest.raises(Stop), session.transaction():
            stop_after(session, "INSERT INTO shop_author (name) VALUES ('gone')")
        with pytest.raises(Exception, match="nonsense"), session.transaction():
            session.run("SELECT nonsense")
    assert list(Author.objects.values_list("name", flat=True)) == ["kept"]


@really
def test_after_a_fork_the_parents_are_not_touched() -> None:
    with private.session("default") as session:
        (pid,) = session.run("SELECT pg_backend_pid()")[0]
        read, write = os.pipe()
        child = os.fork()
        if not child:
            code = 1
            try:
                for one in connections.all(initialized_only=True):
                    one.connection = None  # the parent's socket is not ours to close
                with private.session("default") as own:
                    os.write(write, str(own.run("SELECT pg_backend_pid()")[0][0]).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        theirs = os.read(read, 100)
        os.close(read)
        assert os.waitpid(child, 0)[1] == 0
        assert int(theirs) != pid
        assert session.run("SELECT pg_backend_pid()") == [(pid,)], "and the parent's still works"


@really
def test_the_callers_connection_and_its_query_log_see_nothing_of_them(
    declare: Declared, cache: Cache
) -> None:
    declare("page", 1)
    with CaptureQueriesContext(connection) as queries:
        cache.get("page")
    assert {query["sql"].split()[0] for query in queries} == {"SELECT"}
    assert connection.in_atomic_block is False


@really
def test_a_caller_in_a_transaction_is_neither_committed_nor_rolled_back_by_what_the_cache_does(
    declare: Declared, cache: Cache
) -> None:
    declare("page", 1)
    declare("broken", lambda key: 1 / 0)
    with transaction.atomic():
        assert cache.get("page") == 1
        with pytest.raises(KckFlowError):
            cache.get("broken")
        Author.objects.create(name="a")
        transaction.set_rollback(True)
    assert not Author.objects.exists()
    assert DataProduct.objects.get(key="page").value == 1


@really
def test_closing_old_connections_does_not_see_them() -> None:
    from django.db import close_old_connections

    with private.session("default") as session:
        close_old_connections()
        assert session.run("SELECT 1") == [(1,)]
