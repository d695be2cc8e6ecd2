"""Products in any template: one statement for all tags of a page, whoever reads it sees what they may."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.template import TemplateSyntaxError, engines
from django.template.base import Template
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache
from kck_flow.models import DataProduct
from kck_flow.refresh import collecting
from kck_flow.testing import freeze_time
from tests.admin.conftest import NOW, SETTINGS

pytestmark = pytest.mark.django_db
PARTS = {
    "base.html": '{% load kck_flow %}{% kck_value "a_guarded/1" %} {% block body %}{% endblock %}',
    "part.html": '{% load kck_flow %}{% kck_value "a_guarded/2" %} {% kck_value which %} ',
}


@pytest.fixture
def reader(site: None) -> Any:
    return User.objects.create_user("reader", is_staff=True)


def render(text: str, user: Any, **context: Any) -> str:
    request = RequestFactory().get("/")
    request.user = user
    template: Any = engines["django"].from_string("{% load kck_flow %}" + text)
    return str(template.render(context, request))


def guarded(count: int) -> None:
    for branch in range(count):
        Cache.get_instance().get(f"a_guarded/{branch}")


def test_ten_tags_are_one_statement(declared: None, reader: Any) -> None:
    guarded(10)
    text = "".join(f'{{% kck_value "a_guarded/{branch}" %}} ' for branch in range(10))
    with CaptureQueriesContext(connection) as seen:
        assert render(text, reader).split() == [str(one) for one in range(10)]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for one in keys %}{% kck_value one %} {% endfor %}", "0 1 2 3"),
        ("{% for name, one in pairs %}{{ name }}{% kck_value one %} {% endfor %}", "a0 a1 a2 a3"),
        ('{% with k="a_guarded/3" %}{% kck_value k %}{% endwith %} {% kck_value keys.1 %}', "3 1"),
        ('{% if keys %}{% kck_value "a_guarded/3" %}{% else %}{% kck_value "a_guarded/1" %}{% endif %}', "3"),
        ("{% for one in rows %}{% kck_value one.plan %} {% endfor %}", "2 3"),
    ],
)
def test_what_stands_in_loops_and_blocks_is_read_with_the_others(
    declared: None, reader: Any, text: str, said: str
) -> None:
    from tests.accounts.models import Account

    guarded(4)
    Account.objects.bulk_create(Account(plan=f"a_guarded/{one}") for one in (2, 3))
    keys = [f"a_guarded/{one}" for one in range(4)]
    rows = Account.objects.order_by("pk")
    with CaptureQueriesContext(connection) as seen:
        assert (
            render(text, reader, keys=keys, pairs=[("a", key) for key in keys], rows=rows).split()
            == said.split()
        )
    assert len(seen) == (2 if "rows" in text else 1)


def test_templates_that_are_extended_and_included_are_read_with_their_page(
    declared: None, reader: Any
) -> None:
    guarded(6)
    loaders = [
        ("django.template.loaders.locmem.Loader", PARTS),
        "django.template.loaders.app_directories.Loader",
    ]
    settings = SETTINGS["TEMPLATES"][0]
    own = {**settings, "APP_DIRS": False, "OPTIONS": {**settings["OPTIONS"], "loaders": loaders}}
    with override_settings(TEMPLATES=[own]):
        page = (
            '{% extends "base.html" %}{% load kck_flow %}{% block body %}{% kck_value "a_guarded/3" %} '
            '{% include "part.html" with which="a_guarded/4" %}'
            '{% include name with which="a_guarded/5" %}{% endblock %}'
        )
        request = RequestFactory().get("/")
        request.user = reader
        template: Any = engines["django"].from_string(page)
        with CaptureQueriesContext(connection) as seen:
            assert template.render({"name": "part.html"}, request).split() == ["1", "3", "2", "4", "2", "5"]
        assert isinstance(template.template, Template)
    assert len(seen) == 2, "the one that a variable names is known only when it is reached"


def test_a_missing_value_is_one_of_the_five_words_and_nothing_is_computed(
    declared: None, reader: Any
) -> None:
    assert render('{% kck_value "a_menu/1" %}', reader) == "empty"
    assert not DataProduct.objects.filter(key="a_menu/1", state="value").exists()
    assert render('{% kck_value "a_guarded/7" prime=True %}', reader) == "7"
    assert DataProduct.objects.filter(key="a_guarded/7", state="value").exists()
    cache = Cache.get_instance()
    cache.set("a_note", "<b>5</b>")
    assert render('{% kck_value "a_note" %}', reader) == "&lt;b&gt;5&lt;/b&gt;"
    cache.set("a_note", "x" * 5000)
    assert render('{% kck_value "a_note" %}', reader) == "x" * 5000, "too long to come along with the others"
    cache.set("a_note", {"a": [1]})
    assert render('{% kck_value "a_note" as note %}{{ note.a.0 }}', reader) == "1"


def test_a_stale_value_is_shown(declared: None, reader: Any) -> None:
    guarded(2)
    DataProduct.objects.filter(key="a_guarded/1").update(soft_expires_at=NOW - timedelta(days=9999))
    assert render('{% kck_value "a_guarded/1" %}', reader) == "1"


def test_who_may_not_see_it_is_shown_nothing(declared: None, reader: Any) -> None:
    guarded(14)
    Cache.get_instance().get("a_private")
    text = '[{% kck_value "a_private" %}{% kck_panel "a_private" %}{% kck_sparkline "a_private" %}]'
    assert render(text, reader) == "[]"
    assert render('[{% kck_value "a_guarded/13" %}]', reader) == "[]"
    assert render('[{% kck_value "a_visits" %}]', AnonymousUser()) == "[]"
    assert render('{% kck_value "a_private" as v %}[{{ v }}]', reader) == "[None]"


def test_a_metric_is_a_number_a_picture_or_a_panel(declared: None, reader: Any) -> None:
    with freeze_time(NOW - timedelta(days=20)) as clock:
        list(collecting.collect(["a_visits"]))
        clock.set(NOW)
        list(collecting.collect(["a_visits"]))
        text = render('{% kck_value "a_visits" %}|{% kck_value "a_visits" unit=True %}', reader)
        assert text == "10|10\xa0visits"
        assert "<svg" in render('{% kck_sparkline "a_visits" last=14 %}', reader)
        panel = render('{% kck_panel "a_visits" show="bars" last=7 title="People who came" %}', reader)
        assert "People who came" in panel
        assert "<svg" in panel
        assert panel.count("<tr>") == 8
        assert "<svg" not in render('{% kck_panel "a_visits" show="table" last=7 %}', reader)
        assert "<svg" in render('{% kck_panel "a_visits" show="line" last=7 %}', reader)
        assert 'href="/x/y/metrics/a_visits"' in render('{% kck_panel "a_visits" %}', reader)
        many = "".join(f'{{% kck_sparkline "a_visits" last={n % 2 + 10} %}}' for n in range(6))
        with CaptureQueriesContext(connection) as seen:
            assert render(many, reader).count("<svg") == 6
        assert len(seen) <= 3, "values once, series once for each range"
        ids = [part.partition('"')[0] for part in render(many, reader).split('id="')[1:]]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "text",
    [
        "{% kck_value %}", '{% kck_value "a_menu/1" primed=True %}', '{% kck_value "a_menu/1" "b" %}',
        '{% kck_panel "a_visits" show="pie" %}',
    ],
)  # fmt: skip
def test_a_wrong_tag_says_what_it_takes(declared: None, reader: Any, text: str) -> None:
    with pytest.raises(TemplateSyntaxError, match="kck_"):
        render(text, reader)
