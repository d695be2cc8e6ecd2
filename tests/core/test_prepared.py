"""Hot statements are prepared where the next one meets the same server process, and nobody notices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import override_settings

from kck_flow import Cache, On
from kck_flow.registry import registry
from kck_flow.store import install, prepared
from kck_flow.store.session import caller
from tests.core.conftest import Declared, Thread
from tests.harness.processes import database_url_of
from tests.shop.models import Author

pytestmark = pytest.mark.django_db(transaction=True)

ENOUGH = prepared.WORTH_IT + 5


def names() -> list[str]:
    """What this thread's connection has prepared of ours."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE name LIKE 'kck_%'")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture(autouse=True)
def _a_new_connection() -> None:
    connection.close()


@pytest.fixture
def keys(declare: Declared) -> dict[str, Callable[[Any], Any]]:
    """One product for each hot read and write; each call's result has to be the value."""
    cache = Cache.get_instance()
    declare("plain", lambda key: {"n": 1})
    declare("sourced", lambda key: {"n": 1}, depends_on=[On(Author)])
    return {
        "get": lambda _: cache.get("plain"),
        "a source": lambda _: cache.get("sourced"),
        "many": lambda _: cache.get_many(["plain", "sourced"])["plain"],
        "set": lambda _: cache.set("plain", {"n": 1}).value,
    }


@pytest.mark.parametrize("way", ["get", "a source", "many", "set"])
def test_a_statement_is_prepared_once_it_is_worth_it_and_says_the_same(keys: Any, way: str) -> None:
    found = [keys[way](None)]
    assert names() == []
    found += [keys[way](None) for _ in range(ENOUGH)]
    assert len(names()) == 1
    assert all(one == {"n": 1} for one in found)


@pytest.mark.parametrize("way", ["get", "a source", "many", "set"])
def test_one_that_the_connection_has_forgotten_is_said_in_full(keys: Any, way: str) -> None:
    for _ in range(ENOUGH):
        keys[way](None)
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    assert [keys[way](None) for _ in range(ENOUGH)] == [{"n": 1}] * ENOUGH
    assert names() == []


def test_a_prepared_read_sees_expiries_changes_and_invalidations(declare: Declared) -> None:
    cache = Cache.get_instance()
    declare("plain", lambda key: "computed")
    declare("count", lambda key: Author.objects.count(), depends_on=[On(Author)])
    for _ in range(ENOUGH):
        assert (cache.get("plain"), cache.get("count")) == ("computed", 0)
    assert len(names()) == 2
    Author.objects.create(name="a")
    assert cache.get("count") == 1
    cache.set("plain", "set")
    assert cache.get("plain") == "set"
    cache.invalidate("plain")
    assert cache.get("plain") == "computed"
    cache.set("plain", "over", hard_expire=timedelta(0))
    assert cache.get("plain") == "computed"
    declared = declare.classes[0]
    declared.version = 2
    assert cache.get("plain") == "computed"
    assert declare.count("plain") == 4


def test_nothing_is_prepared_inside_a_transaction_where_an_error_would_be_the_callers(keys: Any) -> None:
    for _ in range(ENOUGH):
        keys["get"](None)
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    with transaction.atomic():
        assert [keys["get"](None) for _ in range(ENOUGH)] == [{"n": 1}] * ENOUGH
        assert names() == []


def test_it_can_be_switched_off(keys: Any) -> None:
    with override_settings(KCK_FLOW={"PREPARE": False}):
        for _ in range(ENOUGH):
            assert keys["get"](None) == {"n": 1}
        assert names() == []


def test_whoever_counts_statements_sees_each_as_it_is(
    keys: Any, django_assert_num_queries: Callable[..., Any]
) -> None:
    for _ in range(ENOUGH):
        keys["get"](None)
    with django_assert_num_queries(1) as seen:
        keys["get"](None)
    assert "FROM kck_product" in seen.captured_queries[0]["sql"]


@pytest.mark.needs_pgbouncer
def test_behind_a_pooler_nothing_is_prepared(keys: Any, pooler: Any) -> None:
    """On a connection of Django's that goes through the pooler, in a thread of its own."""
    from tests.settings import database

    assert database_url_of("default") != pooler.url

    def read() -> list[Any]:
        wrapper = connections["default"]
        wrapper.settings_dict = {**wrapper.settings_dict, **database(pooler.url)}
        found = [keys["get"](None) for _ in range(ENOUGH)]
        return [*found, names()]

    assert Thread(read).result() == [*[{"n": 1}] * ENOUGH, []]


def test_a_kept_plan_looks_into_the_index_of_an_empty_table_too(keys: Any) -> None:
    """Made when nothing was on its way, it has to do when sixty thousand changes are."""
    tables = ["kck_edge", "kck_pending", "kck_product", "kck_refresh"]
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)}")
    assert sorted(install.make_room(caller("default"))) == tables
    assert install.make_room(caller("default")) == []
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"VACUUM (ANALYZE) {table}")
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone() == (0,)
    for _ in range(ENOUGH):
        keys["a source"](None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE name LIKE 'kck_%'")
        (name,) = cursor.fetchone()
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        cursor.execute(f"EXPLAIN EXECUTE {name} ('{registry.key('sourced').digest}', 1, 'sourced')")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index" in plan
    assert "Seq Scan" not in plan
