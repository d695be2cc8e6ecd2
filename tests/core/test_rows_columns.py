"""Tables with columns of any name and type under the triggers of edges and counts: a write never fails of them, and
what it changes is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Q

from kck_flow import Cache, Facet, Flow, IntegerParameter, On, Primer, Stock
from kck_flow.changes import rows, triggers
from kck_flow.changes.tables import table_of
from kck_flow.store.session import caller
from kck_flow.testing import registered

pytestmark = pytest.mark.django_db(transaction=True)
cache = Cache.get_instance()

# Types that have no equality, each by a value before and one after.
ODD = {
    "json": ('{"a": 1}', '{"a":  2}'),
    "json[]": ("{1}", "{2}"),
    "point[]": ('{"(1,1)"}', '{"(1,2)"}'),
    "box": ("(1,1),(0,0)", "(2,2),(1,1)"),
    "jsonpath": ("$.a", "$.b"),
    "kck_test_json": ("1", "2"),
    "kck_test_pair": ("(1,2)", "(1,3)"),
}
# Types that have one.
EVEN = {
    "int4range": ("[1,2)", "[1,3)"),
    "int4multirange": ("{[1,2)}", "{[1,3)}"),
    "jsonb": ("1", "2"),
    "varchar(9)[]": ("{a}", "{b}"),
    "varchar(9)": ("a", "b"),
    "bytea": ("\\x00", "\\x01"),
    "interval": ("1 day", "2 days"),
    "cidr": ("1.1.1.1", "1.1.1.2"),
    "double precision": ("NaN", "Infinity"),
    "timestamptz": ("2024-01-01Z", "2024-01-02Z"),
    "tsvector": ("a", "b"),
    "kck_test_number": ("1", "2"),
}


class Thing(models.Model):
    """A table of any columns; they are made in the test."""

    state = models.TextField(default="")
    owner = models.IntegerField(default=1)
    value = models.TextField(null=True)
    # What the function of a trigger knows under that name, too.
    n = models.TextField(null=True)
    o = models.TextField(null=True)
    old = models.TextField(null=True)
    new = models.TextField(null=True)
    stale = models.TextField(null=True)
    found = models.TextField(null=True)
    tg_op = models.TextField(null=True)
    key = models.TextField(null=True)
    odd = models.TextField(null=True, db_column='An "odd" name')

    class Meta:
        app_label, managed, db_table = "shop", False, "kck_test_thing"


class Seen(Primer):
    """A product of one owner's things."""

    key_base = "columns_seen"
    parameters = [IntegerParameter("owner")]
    depends_on = [On(Thing, key="owner")]

    def compute(self, key: Any) -> Any:
        of_one = Thing.objects.filter(owner=key.params["owner"]).order_by("pk")
        return [str(value) for value in of_one.values_list("value", flat=True)]


class Folded(Primer):
    """How many things one owner has, kept up; all changes arrive whole."""

    key_base = "columns_folded"
    parameters = [IntegerParameter("owner")]
    depends_on = [On(Thing, key="owner", then="augment")]

    def compute(self, key: Any) -> Any:
        return Thing.objects.filter(owner=key.params["owner"]).count()

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        return value + sum((c.new is not None) - (c.old is not None) for c in changes)


class Few(Stock):
    """Things by what they hold."""

    key_base, model, members = "columns_few", Thing, Q(state="")
    facets = [Facet("value"), Facet("found")]


class Many(Stock):
    """Things that were done."""

    key_base, model, members = "columns_many", Thing, Q(state="done")


class Done(Flow):
    """Things that get done."""

    key_base, sources, sinks = "columns_done", [Few], [Many]


def sql(statement: str, *params: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(params=["text"])
def type_(request: pytest.FixtureRequest) -> Iterator[str]:
    sql("CREATE DOMAIN kck_test_json AS json")
    sql("CREATE DOMAIN kck_test_number AS numeric")
    sql("CREATE TYPE kck_test_pair AS (a integer, b json)")
    sql(
        "CREATE TABLE kck_test_thing (id bigserial PRIMARY KEY, state text NOT NULL DEFAULT '', "
        f"owner integer NOT NULL DEFAULT 1, value {request.param}, n text, o text, old text, new text, stale text, "
        'found text, tg_op text, key text, "An ""odd"" name" text)'
    )
    try:
        with registered(Seen, Folded, Few, Many, Done):
            triggers.install("default")
            rows.install("default")
            yield request.param
    finally:
        sql("DROP TABLE kck_test_thing")
        sql("DROP TYPE kck_test_pair")
        sql("DROP DOMAIN kck_test_json, kck_test_number")
        triggers.install("default")
        rows.install("default")


def computed(*names: str, to: str) -> None:
    """Fail unless a change of some columns makes the product stale."""
    for name in names:
        before = cache.get_entry("columns_seen/1").computed_at
        sql(f"UPDATE kck_test_thing SET {name} = %s WHERE id = 1", to)
        assert len(cache.get("columns_seen/1")) == 3
        assert cache.get_entry("columns_seen/1").computed_at != before, name


def written(before: str, after: str, *names: str) -> None:
    assert cache.get("columns_few")["value"] == cache.get("columns_folded/1") == 0
    assert cache.get("columns_seen/1") == []
    sql("INSERT INTO kck_test_thing (value) VALUES (%s), (%s)", before, before)
    sql("INSERT INTO kck_test_thing (value) VALUES (%s)", before)
    assert cache.get("columns_folded/1") == len(cache.get("columns_seen/1")) == 3
    computed("value", to=after)
    computed(*names, to="other")
    sql("UPDATE kck_test_thing SET value = %s, state = 'done'", after)
    sql("UPDATE kck_test_thing SET owner = 2 WHERE id = 1")
    assert cache.get("columns_folded/1") == 2
    assert cache.get("columns_many")["value"] == 3
    sql("DELETE FROM kck_test_thing WHERE id = 2")
    sql("DELETE FROM kck_test_thing")
    assert cache.get("columns_folded/1") == cache.get("columns_many")["value"] == 0
    assert cache.get("columns_few")["value"] == 0


def test_a_column_may_have_any_name(type_: str) -> None:
    written("a", "b", "n", "o", "old", "new", "stale", "found", "tg_op", "key", '"An ""odd"" name"')


@pytest.mark.parametrize("type_", ODD, indirect=True)
def test_a_column_may_be_of_a_type_without_equality(type_: str) -> None:
    assert not table_of(caller("default"), '"kck_test_thing"').grouped
    written(*ODD[type_])


@pytest.mark.parametrize("type_", EVEN, indirect=True)
def test_a_column_of_a_type_with_equality_is_compared_as_it_is(type_: str) -> None:
    assert table_of(caller("default"), '"kck_test_thing"').grouped
    written(*EVEN[type_])
