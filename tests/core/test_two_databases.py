"""A product in one database made from what is in another: its change is brought over after the commit, not lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction

from kck_flow import Cache, IntegerParameter, On
from kck_flow.changes.drain import drain
from kck_flow.models import DataProduct, Edge, Pending, Refresh
from kck_flow.store import private
from kck_flow.testing import run_worker
from tests.core.conftest import Declared, at_rest
from tests.shop.models import Author

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "elsewhere"])
N = [IntegerParameter("n")]


@pytest.fixture
def second(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Another database, with the package's tables; in other tests the alias is a second name of the first."""
    name = f"{connection.settings_dict['NAME']}_second"
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    connections["elsewhere"].close()
    monkeypatch.setitem(connections["elsewhere"].settings_dict, "NAME", name)
    settings.KCK_FLOW = {"DATABASES": ["default", "elsewhere"]}
    call_command("migrate", database="elsewhere", run_syncdb=True, verbosity=0)
    yield "elsewhere"
    at_rest()
    private.close_all()
    connections["elsewhere"].close()
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def chain(second: str, declare: Declared, cache: Cache) -> Declared:
    """Three products, each made from the one before, here, there, and here."""
    declare("here", 0, parameters=N)
    declare(
        "there", lambda key: ["there", cache.get(f"here/{key.params['n']}")], database=second, parameters=N
    )
    declare("lowest", lambda key: ["lowest", cache.get(f"there/{key.params['n']}")], parameters=N)
    return declare


def deliver() -> None:
    """Drain what is on its way, as the workers of both databases do, until nothing is."""
    for _ in range(3):
        for alias in ("default", "elsewhere"):
            with private.session(alias) as session:
                drain(session)
    assert not Pending.objects.using("elsewhere").exists()
    assert not Pending.objects.exists()


def test_an_edge_stands_where_its_source_changes_and_its_mark_is_brought_over(
    chain: Declared, cache: Cache
) -> None:
    assert cache.get("lowest/1") == ["lowest", ["there", 0]]
    assert list(Edge.objects.values_list("upstream_key", "downstream_key")) == [("here/1", "there/1")]
    assert list(Edge.objects.using("elsewhere").values_list("upstream_key", flat=True)) == ["there/1"]
    for change, value in (
        (lambda: cache.set("here/1", 5), 5),
        (lambda: cache.invalidate("here/1"), 0),
        (lambda: cache.set("here/1", 6), 6),
        (lambda: cache.invalidate(key_base="here"), 0),
        (lambda: cache.set("here/1", 7), 7),
        (lambda: cache.unset("here/1"), 0),
    ):
        change()
        deliver()
        assert cache.get("lowest/1") == ["lowest", ["there", value]]
    with transaction.atomic():
        cache.set("here/1", 8)
        transaction.set_rollback(True)
    deliver()
    assert cache.get_entry("lowest/1").state == "fresh"


def test_what_changes_while_it_is_computed_elsewhere_is_not_lost(chain: Declared, cache: Cache) -> None:
    def compute(key: Any) -> Any:
        found = cache.get(f"here/{key.params['n']}")
        if chain.count(str(key)) == 1:
            cache.set(f"here/{key.params['n']}", 1)  # there is no edge yet that could tell
        return found

    chain("racing", compute, database="elsewhere", parameters=N)
    assert cache.get("racing/1") == 0
    assert cache.get("racing/1") == 1


def test_a_declared_edge_refreshes_what_is_elsewhere(chain: Declared, cache: Cache) -> None:
    chain(
        "told",
        lambda key: chain.count(str(key)),
        database="elsewhere",
        parameters=N,
        depends_on=[On("here", then="refresh")],
    )
    chain("authors", lambda key: Author.objects.count(), database="elsewhere", depends_on=[On(Author)])
    assert cache.get_many(["told/1", "told/2", "authors"]) == {"told/1": 1, "told/2": 1, "authors": 0}
    cache.set("here/1", 5)
    Author.objects.create(name="Ada")
    assert run_worker().keys == ["told/1"]
    assert cache.get_many(["told/1", "told/2", "authors"]) == {"told/1": 2, "told/2": 1, "authors": 1}


def test_what_would_be_augmented_from_elsewhere_is_computed(chain: Declared, cache: Cache) -> None:
    """A check tells it; and no change is lost."""

    def augment(self: Any, key: Any, value: Any, changes: Any) -> Any:
        raise AssertionError("its changes do not commit with their cause")

    chain(
        "sum",
        lambda key: cache.get(f"here/{key.params['n']}"),
        database="elsewhere",
        parameters=N,
        depends_on=[On("here", then="augment")],
        augment=augment,
    )
    assert cache.get("sum/1") == 0
    cache.set("here/1", 5)
    deliver()
    assert cache.get("sum/1") == 5


def test_a_mark_delivered_twice_does_no_harm(chain: Declared, cache: Cache, monkeypatch: Any) -> None:
    """The process dies when the mark has arrived and is not yet deleted where it came from."""
    cache.get("there/1")
    cache.set("here/1", 5)

    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr("kck_flow.changes.drain.pending.delete", die)
        with pytest.raises(Died), private.session("default") as session:
            drain(session)
    assert Pending.objects.using("elsewhere").filter(key_base="there").count() == 1
    assert cache.get("there/1") == ["there", 5]
    deliver()
    assert cache.get("there/1") == ["there", 5]
    assert chain.count("there/1") <= 3
    assert DataProduct.objects.using("elsewhere").get(key="there/1").version == 2
    assert not Refresh.objects.filter(key="there/1").exists()
