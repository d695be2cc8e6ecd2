from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.template import engines
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache

pytestmark = pytest.mark.django_db
EMPTY = "{% load kck_flow %}"


@pytest.fixture
def reader(site: None) -> Any:
    return User.objects.create_user("reader", is_staff=True)


def render(text: str, user: Any, **context: Any) -> str:
    request = RequestFactory().get("/")
    request.user = user
    return engines["django"].from_string("{% load kck_flow %}" + text).render(context, request)


def test_ten_tags_are_one_query(declared: None, reader: Any) -> None:
    cache = Cache.get_instance()
    for branch in range(10):
        cache.get(f"a_guarded/{branch}")
    text = "".join(f'{{% kck_value "a_guarded/{branch}" %}} ' for branch in range(10))
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert render(text, reader).split() == [str(one) for one in range(10)]
    assert len(seen) == 1, [one["sql"][:200] for one in seen]
    looped = "{% for one in keys %}{% kck_value one %} {% endfor %}{% with k='a_guarded/3' %}{% kck_value k %}{% endwith %}"
    with CaptureQueriesContext(connection) as seen:
        assert render(looped, reader, keys=[f"a_guarded/{one}" for one in range(5)]).split() == [
            "0",
            "1",
            "2",
            "3",
            "4",
            "3",
        ]
    assert len(seen) == 1
