"""A refresh notes the SQL that its primer ran, never its parameters (experience §9 C)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from kck_flow import Cache, Primer
from kck_flow.cache.statements import MOST, noted
from kck_flow.errors import ComputeFailed
from kck_flow.testing import registered, reset
from tests.shop.models import Author, Book

pytestmark = pytest.mark.django_db(transaction=True)


class Titles(Primer):
    key_base = "n_titles"

    def compute(self, key: Any) -> list[str]:
        Cache.get_instance().get("n_other")
        for _ in range(3):
            list(Author.objects.filter(name="Ada Lovelace"))
        return [book.title for book in Book.objects.order_by("title")]


class Other(Primer):
    key_base = "n_other"

    def compute(self, key: Any) -> int:
        return Author.objects.count()


class Fails(Primer):
    key_base = "n_fails"

    def compute(self, key: Any) -> int:
        return Book.objects.count() // 0


@pytest.fixture(autouse=True)
def products() -> Any:
    reset()
    with registered(Titles, Other, Fails):
        yield
    reset()


def told(key: str) -> dict[str, int] | None:
    found = Cache.get_instance().explain(key)["statements"]
    return dict(found["sql"]) if found is not None else None


def test_a_refresh_notes_what_it_ran_and_how_often_and_no_parameters() -> None:
    cache = Cache.get_instance()
    cache.get("n_titles")
    assert told("n_titles") is None  # who waits for what is missing is not kept waiting for this
    cache.refresh("n_titles")
    found = told("n_titles")
    assert found is not None
    assert len(found) == 2
    authors, books = found
    assert '"shop_author"."name" = %s' in authors
    assert found[authors] == 3
    assert found[books] == 1
    assert "Lovelace" not in str(found)
    assert "kck_" not in str(found)


def test_what_failed_notes_it_too() -> None:
    with pytest.raises(ComputeFailed):
        Cache.get_instance().refresh("n_fails")
    found = told("n_fails")
    assert found is not None
    assert "COUNT" in next(iter(found))


def test_it_can_be_left_out() -> None:
    with override_settings(KCK_FLOW={"NOTE_SQL": False}):
        Cache.get_instance().refresh("n_titles")
    assert told("n_titles") is None


def test_a_thousand_different_ones_are_told_as_some_and_others() -> None:
    with noted() as found:
        for number in range(MOST + 5):
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {number}")
                cursor.execute("SELECT 1")
    sql = found.told()
    assert sql is not None
    assert len(sql) == MOST + 1
    assert ["SELECT 1", MOST + 6] in sql
    assert sql[-1] == ["", 5]
    assert not connection.execute_wrappers
