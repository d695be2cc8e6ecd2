"""Products that are a statement (feature 12), in code and in a file (feature 13)."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from kck_flow import Cache, DateParameter, IntegerParameter, StringParameter
from kck_flow.errors import ComputeFailed
from kck_flow.registry import registry
from kck_flow.schedule import Cron
from kck_flow.testing import registered, reset
from primers.sql import SQL
from tests.shop.models import Author, Book

pytestmark = pytest.mark.django_db


class Titles(SQL):
    """Titles of an author, the dearest first."""

    key_base, parameters = "sq_titles", [StringParameter("author")]
    sql = """
        -- 100 %% of them
        SELECT book.title, book.price, author.name AS author FROM shop_book book
        JOIN shop_author author ON author.id = book.author_id WHERE author.name = %(author)s ORDER BY book.price DESC
    """


class Rows(Titles):
    key_base, shape = "sq_rows", "rows"


class Column(Titles):
    key_base, shape = "sq_column", "column"


class Total(SQL):
    key_base, shape = "sq_total", "value"
    sql = "/* all */ (SELECT sum(price) FROM shop_book)"


class Days(SQL):
    key_base, parameters, shape = "sq_days", [DateParameter("day"), IntegerParameter("more")], "value"
    sql = "WITH days AS (SELECT %(day)s::date + %(more)s::int AS day) SELECT day FROM days"


ALL = (Titles, Rows, Column, Total, Days)


@pytest.fixture
def books() -> Any:
    reset()
    with registered(*ALL):
        jane = Author.objects.create(name="Jane")
        Book.objects.create(author=jane, title="Emma", price=Decimal("12.50"))
        Book.objects.create(author=jane, title="Persuasion", price=Decimal("9.90"))
        yield Cache.get_instance()
    reset()


def test_a_statement_is_a_product_as_dicts_rows_a_column_or_a_value(books: Cache) -> None:
    assert books.get("sq_titles/Jane") == [
        {"title": "Emma", "price": Decimal("12.50"), "author": "Jane"},
        {"title": "Persuasion", "price": Decimal("9.90"), "author": "Jane"},
    ]
    assert books.get("sq_rows/Jane")[1] == ["Persuasion", Decimal("9.90"), "Jane"]
    assert books.get("sq_column/Jane") == ["Emma", "Persuasion"]
    assert books.get("sq_total") == Decimal("22.40")
    assert books.get("sq_days/2026-01-30/3") == date(2026, 2, 2)
    assert books.get("sq_titles/Nobody") == []
    Book.objects.all().delete()
    assert books.refresh("sq_total").value is None


@pytest.mark.parametrize(
    "hostile",
    ["'; DROP TABLE shop_book; --", "' OR '1'='1", "%(author)s", "%s", "100%", "\\'; SELECT 1", 'a"b'],
)
def test_whatever_a_parameter_says_it_is_a_value(books: Cache, hostile: str) -> None:
    key = registry.primer("sq_titles").build_key(author=hostile)
    assert books.get(key) == []
    Author.objects.filter(name="Jane").update(name=hostile)
    assert [row["title"] for row in books.refresh(key).value] == ["Emma", "Persuasion"]
    assert Book.objects.count() == 2


def test_too_many_rows_and_two_values_are_errors_and_no_cut_lists(books: Cache) -> None:
    Titles.most = 1
    try:
        with pytest.raises(ComputeFailed, match="more than 1 rows: aggregate them"):
            books.get("sq_titles/Jane")
    finally:
        Titles.most = 100_000
    Total.sql = "SELECT price FROM shop_book"
    try:
        with pytest.raises(ComputeFailed, match="one value, and its statement returns 2 rows"):
            books.get("sq_total")
    finally:
        Total.sql = "/* all */ (SELECT sum(price) FROM shop_book)"


def test_two_columns_of_one_name_are_no_dict(books: Cache) -> None:
    class Twice(SQL):
        key_base, sql = "sq_twice", "SELECT title, price AS title FROM shop_book"

    with registered(Twice), pytest.raises(ComputeFailed, match="two columns named 'title'"):
        books.get("sq_twice")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({}, "it has no statement"),
        ({"sql": "DELETE FROM shop_book"}, "its statement begins with 'delete'"),
        ({"sql": "-- SELECT\nUPDATE shop_book SET price = 0"}, "its statement begins with 'update'"),
        ({"sql": "SELECT 1 WHERE 'a' LIKE '%a'"}, "a single percent sign"),
        ({"sql": "SELECT %s"}, "a single percent sign"),
        (
            {"sql": "SELECT %(yaer)s::int", "parameters": [IntegerParameter("year")]},
            "takes %(yaer)s, which is no parameter of it (year). Did you mean 'year'?",
        ),
        ({"sql": "SELECT 1", "parameters": [IntegerParameter("year")]}, "does not use the parameter 'year'"),
        ({"sql": "SELECT 1", "shape": "table"}, "shape is dicts, rows, column or value"),
    ],
)
def test_what_is_wrong_with_a_statement_is_told_by_the_checks(attributes: dict[str, Any], said: str) -> None:
    wrong = type("Wrong", (SQL,), {"key_base": "sq_wrong", "__module__": __name__, **attributes})
    registry.register(wrong)
    try:
        told = [one.msg for one in run_checks(tags=["kck"]) if one.id == "kck_flow.E003"]
        assert len(told) == 1
        assert said in told[0]
    finally:
        registry.withdraw(wrong)


# -- in a file

FILE = """
# What the shop looks at.
[wr_titles]
sql = '''SELECT title FROM shop_book WHERE price >= %(least)s ORDER BY 1'''
shape = "column"
parameters = {least = {type = "decimal", default = 0}}
label = "Titles"
soft_expire = "10m"
hard_expire = "1.5h"
schedule = {cron = "30 2 * * *", tz = "Europe/Paris"}
depends_on = ["shop.Book", {on = "wr_authors", then = "refresh"}]
permission = "public"
goal = 12

[wr_authors]
sql = "SELECT count(*) FROM shop_author"
shape = "value"
depends_on = ["shop.Author"]
schedule = "every 5m"

["wr-users"]
primer = "primers.users.Accounts"
"""


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "primers.toml"
        path.write_text(text, encoding="utf-8")
        registry.register_written(path, "shop.primers")
        return path

    before, broken = list(registry.classes), list(registry.broken)
    reset()
    yield write
    for one in set(registry.classes) - set(before):
        registry.withdraw(one)
    registry.broken[:] = broken
    reset()


def test_a_file_declares_products_with_expiry_schedules_and_dependencies(written: Any) -> None:
    path = written(FILE)
    assert not [one for one in run_checks(tags=["kck"]) if "wr" in str(one.obj) or "wr_" in one.msg]
    titles = registry.primers["wr_titles"]
    assert (titles.text, titles.goal, titles.permission) == ("Titles", 12, "public")
    assert (titles.soft_expire, titles.hard_expire) == (timedelta(minutes=10), timedelta(minutes=90))
    assert isinstance(titles.schedule, Cron)
    assert "Europe/Paris" in titles.schedule.describe()
    assert titles.where() == f"{path}:3"
    assert registry.primers["wr_authors"].text == "Wr authors"
    assert registry.primers["wr-users"].where() == f"{path}:21"
    cache = Cache.get_instance()
    assert (cache.get("wr_titles"), cache.get("wr_authors")) == ([], 0)
    jane = Author.objects.create(name="Jane")
    Book.objects.create(author=jane, title="Emma", price=12)
    assert cache.get("wr_titles") == ["Emma"], "a saved row made it stale"
    assert cache.get("wr_titles/13") == []
    assert cache.get("wr_authors") == 1
    assert cache.get("wr-users") == {"active": 0, "inactive": 0}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[wr_a]\nsqll = 'SELECT 1'", 1, "SQL has no attribute 'sqll'. Did you mean 'sql'?"),
        ("\n[wr_a]\nsql = 'SELECT 1'\nsoft_expire = 600", 2, "[wr_a] soft_expire = 600 is no duration"),
        ("[wr_a]\nsql = 'SELECT 1'\nschedule = '30 2 * *'", 1, "30 2 * *"),
        ("[wr_a]\nsql = 'SELECT 1'\nschedule = 5", 1, "[wr_a] schedule = 5 is no schedule"),
        (
            "[wr_a]\nsql = 'SELECT 1'\nparameters = {y = 'int'}",
            1,
            "y is of no type 'int'. Did you mean 'integer'?",
        ),
        ("[wr_a]\nsql = 'SELECT 1'\ndepends_on = [{on = 'shop.Book', thn = 'stale'}]", 1, "shop.Book"),
        ("[wr_a]\nprimer = 'primers.sqll.SQL'", 1, "cannot be imported"),
        ("[wr_a]\nprimer = 'datetime.date'", 1, "is no primer"),
        ("[wr_a]\nsql = 'SELECT 1'\nkey_base = 'other'", 1, "the key base is the name of the table"),
        ("[wr_a]\nsql = 'SELECT 1", 2, "it is no TOML"),
        ("wr_a = 5", 1, "is no table"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line_and_keeps_none_of_the_others(
    written: Any, text: str, line: int, said: str
) -> None:
    path = written(text + "\n")
    told = [one for one in run_checks(tags=["kck"]) if one.id == "kck_flow.E001"]
    assert len(told) == 1
    assert said in told[0].msg
    assert f"{path}:{line}" in told[0].msg
    assert "wr_a" not in registry.primers
    if "no TOML" not in said:
        registry.broken.clear()
        written(
            "[wr_good]\nsql = 'SELECT 1'\nshape = 'value'\n\n" + text + "\n"
        ) if text != "wr_a = 5" else written(text + "\n[wr_good]\nsql = 'SELECT 1'\nshape = 'value'\n")
        assert Cache.get_instance().get("wr_good") == 1


def test_a_file_that_is_no_text_takes_no_project_down(written: Any, tmp_path: Path) -> None:
    path = tmp_path / "primers.toml"
    path.write_bytes("[wr_a]\nlabel = 'Caf\xe9'".encode("latin-1"))
    registry.register_written(path, "shop.primers")
    (told,) = [one for one in run_checks(tags=["kck"]) if one.id == "kck_flow.E001"]
    assert f"{path}:1: it cannot be read" in told.msg


def test_a_project_finds_the_file_beside_its_primers(tmp_path: Path) -> None:
    app = tmp_path / "corner"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "primers.toml").write_text("[corner_sum]\nsql = 'SELECT 40 + 2'\nshape = 'value'\n")
    settings = tmp_path / "corner_settings.py"
    settings.write_text("from tests.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'corner']\n")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "corner_settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd(), os.environ.get("PYTHONPATH", "")]),
    }

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert manage("check").returncode == 0
    code = "from kck_flow.registry import registry; print(registry.primers['corner_sum'].where())"
    assert f"{app / 'primers.toml'}:1" in manage("shell", "-c", code).stdout
    (app / "primers.toml").write_text("[corner_sum]\nsql = 'DROP TABLE shop_book'\n")
    told = manage("check")
    assert told.returncode == 1
    assert "its statement begins with 'drop'" in told.stderr
    assert f"{app / 'primers.toml'}:1" in told.stderr
