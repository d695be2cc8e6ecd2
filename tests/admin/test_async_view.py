"""``await cache.aget(key)`` in an async view."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, override_settings
from django.urls import path

from kck_flow import Cache

pytestmark = pytest.mark.django_db(transaction=True)


async def menu(request: HttpRequest, branch: int) -> JsonResponse:
    cache = Cache.get_instance()
    several = await cache.aget_many([f"a_menu/{branch}", "a_guarded/4"])
    return JsonResponse({"menu": await cache.aget(f"a_menu/{branch}"), "other": several["a_guarded/4"]})


urlpatterns = [path("menu/<int:branch>/", menu)]


@override_settings(ROOT_URLCONF=__name__)
def test_an_async_view_awaits_a_product(declared: None) -> None:
    from asgiref.sync import async_to_sync

    client = AsyncClient()
    response: Any = async_to_sync(client.get)("/menu/3/")
    assert response.json()["menu"]["branch"] == 3
    assert response.json()["other"] == 4
