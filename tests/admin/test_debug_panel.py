"""The panel of django-debug-toolbar, where that is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import include, path

from kck_flow import Cache
from tests.admin.conftest import SETTINGS

pytest.importorskip("debug_toolbar")


class Toolbar:
    """What a panel asks of its toolbar."""

    def __init__(self, request: HttpRequest) -> None:
        self.request, self.stats, self.store = request, {}, None
        self.request_id = "one"


@pytest.fixture
def panel_class(db: None) -> Iterator[Any]:
    with override_settings(
        **{
            **SETTINGS,
            "INSTALLED_APPS": ["debug_toolbar", *SETTINGS["INSTALLED_APPS"]],
        },
        DEBUG_TOOLBAR_PANELS=["kck_flow.panels.ProductsPanel"],
    ):
        from kck_flow import panels

        panels.watch()
        made: dict[str, Any] = {}

        class Panel(panels.ProductsPanel):
            def record_stats(self, stats: dict[str, Any]) -> None:
                made.update(stats)

            def get_stats(self) -> dict[str, Any]:
                return made

        yield Panel


def look(panel_class: Any, view: Any) -> dict[str, Any]:
    request = RequestFactory().get("/")
    panel = panel_class(Toolbar(request), view)
    panel.enable_instrumentation()
    try:
        view(request)
    finally:
        panel.disable_instrumentation()
    panel.generate_stats(request, HttpResponse())
    return dict(panel.get_stats())


def test_reads_are_told_by_how_they_went(declared: None, panel_class: Any) -> None:
    cache = Cache.get_instance()
    cache.get("a_menu/1")

    def view(_request: HttpRequest) -> None:
        cache.get("a_menu/1")
        cache.get("a_menu/2")
        cache.get("a_menu/3", None, prime_on_cache_miss=False)
        cache.get_many(["a_menu/1", "a_menu/4"])

    stats = look(panel_class, view)
    told = [(one["key"], one["outcome"]) for one in stats["reads"]]
    assert told == [
        ("a_menu/1", "hit"), ("a_menu/2", "miss"), ("a_menu/3", "empty"), ("a_menu/1", "hit"), ("a_menu/4", "miss"),
    ]  # fmt: skip
    assert stats["reads"][0]["address"] == "/x/y/products/a_menu%2F1"
    assert cache.get("a_menu/1")["branch"] == 1  # and nobody listens any more
    assert len(panel_class(Toolbar(RequestFactory().get("/")), view).get_stats()["reads"]) == 5


def test_two_requests_in_one_loop_do_not_hear_each_other(declared: None, panel_class: Any) -> None:
    from kck_flow import panels

    async def request(branch: int, ready: asyncio.Event, go: asyncio.Event) -> list[str]:
        panel = panel_class(Toolbar(RequestFactory().get("/")), None)
        panel.enable_instrumentation()
        ready.set()
        await go.wait()  # both are under way
        panels._reads.get().append(panels.Read(f"a_menu/{branch}", panels.HIT, 0.0))
        panel.disable_instrumentation()
        return [one.key for one in panel.reads]

    async def both() -> list[list[str]]:
        first, second = asyncio.Event(), asyncio.Event()
        return list(
            await asyncio.gather(
                asyncio.create_task(request(1, first, second)), asyncio.create_task(request(2, second, first))
            )
        )

    assert asyncio.run(both()) == [["a_menu/1"], ["a_menu/2"]]


async def awaited(request: HttpRequest) -> HttpResponse:
    menu = await Cache.get_instance().aget("a_menu/3")
    await Cache.get_instance().aget_many(["a_menu/3", "a_guarded/2"])
    return HttpResponse(f"<html><body>{menu['branch']}</body></html>")


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"<html><body>{Cache.get_instance().get('a_menu/3')['branch']}</body></html>")


def addresses() -> ModuleType:
    """The site's addresses, with the toolbar's own, which can be made only once its app is there."""
    made: Any = ModuleType("addresses")
    made.urlpatterns = [
        path("awaited/", awaited),
        path("plain/", plain),
        path("__debug__/", include("debug_toolbar.urls")),
    ]
    return made


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("address", "told"), [("/awaited/", "3 reads"), ("/plain/", "1 read")])
def test_the_toolbar_shows_it_also_under_asgi(declared: None, address: str, told: str) -> None:
    with (
        override_settings(
            **{
                **SETTINGS,
                "INSTALLED_APPS": ["debug_toolbar", *SETTINGS["INSTALLED_APPS"]],
                "MIDDLEWARE": ["debug_toolbar.middleware.DebugToolbarMiddleware"],
            },
            DEBUG_TOOLBAR_PANELS=["kck_flow.panels.ProductsPanel"],
            DEBUG_TOOLBAR_CONFIG={"SHOW_TOOLBAR_CALLBACK": lambda request: True, "IS_RUNNING_TESTS": False},
            DEBUG=True,
        ),
        ExitStack() as stack,
    ):
        stack.enter_context(override_settings(ROOT_URLCONF=addresses()))
        client: Any = AsyncClient() if address == "/awaited/" else Client()
        get = async_to_sync(client.get) if address == "/awaited/" else client.get
        text = get(address).content.decode()
    assert "<body>3" in text
    assert "Data products" in text
    assert told in text
