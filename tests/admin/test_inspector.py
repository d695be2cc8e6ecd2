from __future__ import annotations

import pytest
from django.test import Client

from kck_flow import Cache

pytestmark = pytest.mark.django_db
LIST = "/admin/kck_flow/dataproduct/"


def test_the_list_shows_what_is_stored(declared: None, staff: Client) -> None:
    cache = Cache.get_instance()
    cache.get("a_menu/1")
    response = staff.get(LIST)
    assert response.status_code == 200
    text = response.content.decode()
    assert "a_menu/1" in text
    for name in ("refresh", "run", "record", "event", "configuredmetric", "configureddashboard"):
        response = staff.get(f"/admin/kck_flow/{name}/")
        assert response.status_code == 200, name
    response = staff.get(f"{LIST}a_menu_2F1/change/")
    assert response.status_code == 200
    print(response.content.decode())
    assert staff.get(f"{LIST}declared/").status_code == 200
