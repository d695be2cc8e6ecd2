"""Stocks: what they count, whoever writes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection

from kck_flow import Cache
from tests.accounts.models import Account, Branch

cache = Cache.get_instance()
pytestmark = pytest.mark.django_db(transaction=True)


def test_a_stock_counts_what_is_there_and_what_comes() -> None:
    branch = Branch.objects.create(name="x")
    Account.objects.create(state="active", plan="pro", balance="1.50", branch=branch)
    assert cache.get("active")["value"] == 1
    assert cache.get("active")["facets"]["plan"] == {"pro": 1}
    Account.objects.bulk_create([Account(state="active", plan=None, vip=True) for _ in range(10)])
    assert cache.get("active")["value"] == 11
    assert cache.get("active")["facets"] == {
        "plan": {"pro": 1, None: 10},
        "vip": {False: 1, True: 10},
        "plan*vip": {("pro", False): 1, (None, True): 10},
        "joined": {None: 11},
    }
    assert cache.get(f"branch_accounts/{branch.pk}") == {"value": 1, "facets": {"plan": {"pro": 1}}}
    assert cache.get("branch_accounts/999") == {"value": 0, "facets": {"plan": {}}}
    assert cache.get("money") == {
        "value": Decimal("1.50"),
        "facets": {"state": {"active": Decimal("1.50"), "trial": 0, "never": 0}},
    }
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_account SET state = 'closed' WHERE vip")
    assert cache.get("active")["value"] == 1
    assert cache.get("abroad") == {"value": 0, "facets": {"country": {}}}
