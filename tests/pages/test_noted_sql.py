"""The SQL behind a number stands on its page, for who may know (experience §9 C)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from kck_flow import Cache, Primer
from kck_flow.testing import registered, reset
from tests.pages.conftest import ROOT
from tests.pages.test_overview import text_of
from tests.shop.models import Author

pytestmark = pytest.mark.django_db


class Writers(Primer):
    """How many write."""

    key_base, permission = "n_writers", "public"

    def compute(self, key: Any) -> int:
        return sum(Author.objects.filter(name=name).count() for name in ("Ada Lovelace", "Emmy Noether"))


@pytest.fixture
def written(site: None, db: None) -> Iterator[None]:
    reset()
    with registered(Writers):
        Cache.get_instance().refresh("n_writers")
        yield
    reset()


def test_the_staff_reads_the_sql_and_nobody_a_parameter(written: None, staff: Client) -> None:
    html = text_of(staff.get(f"{ROOT}products/n_writers"))
    assert "The SQL that its refresh at" in html
    assert "&quot;shop_author&quot;.&quot;name&quot; = %s" in html
    assert '<span class="kck-muted">2 times</span>' in html
    assert "Lovelace" not in html


def test_who_may_look_at_the_number_is_not_told_by_which_sql(written: None, client: Client) -> None:
    client.force_login(User.objects.create_user("somebody"))
    html = text_of(client.get(f"{ROOT}products/n_writers"))
    assert "How many write" in html
    assert "shop_author" not in html
