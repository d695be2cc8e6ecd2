"""A product over HTTP: kck_flow's view, a plain view that does the same with a JsonResponse, and the query alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.contestants.kck_flow import APPS, KckFlow
from benchmarks.product import product
from benchmarks.project import django_setup

KEY = "bench_plain/1"


class Asked(KckFlow):
    """Whoever is asked for one product, again and again.

    Args:
        how: ``view``, ``plain`` or ``query``.
        known: Whether the client has it already.
    """

    def __init__(self, name: str, places: dict[str, Any], how: str, known: bool = False) -> None:
        super().__init__(name, places)
        self.how, self.known = how, known

    def prepare(self) -> None:
        """Make the database, with users, whom the view asks for; everybody may see everything."""
        apps = ["django.contrib.contenttypes", "django.contrib.auth", *APPS]
        settings = json.dumps({"PERMISSION": "public"})
        django_setup.set_up(self.places, self.database, apps, BENCH_KCK_FLOW=settings)
        django_setup.migrate()
        from kck_flow import Cache

        self.cache = Cache.get_instance()

    def store(self, rows: int) -> None:
        """Store a record, or a list of so many rows."""
        listed = [
            {"id": n, "name": f"Station {n}", "level": n % 97 / 8, "note": "river and lake " * 2}
            for n in range(rows)
        ]
        self.cache.set(KEY, listed or product(1))
        self.etag = self._view()(self._request(""), KEY, "json").headers["ETag"]

    def _request(self, etag: str) -> Any:
        from django.test import RequestFactory

        headers = {"HTTP_IF_NONE_MATCH": etag} if etag else {}
        return RequestFactory().get("/products/bench_plain/1.json", **headers)

    def _view(self) -> Callable[..., Any]:
        from kck_flow.api.resources import show_product

        return show_product

    def requests(self, number: int) -> Iterator[tuple[Any, ...]]:
        """Yield so many requests, each made while no clock runs."""
        for _each in range(number):
            yield (self._request(self.etag if self.known else ""),)

    def caller(self) -> Callable[[Any], Any]:
        """Return what answers a request."""
        view = self._view()
        if self.how == "view":
            return lambda request: view(request, KEY, "json")
        if self.how == "plain":
            return self._plain()
        return self._query()

    def _plain(self) -> Callable[[Any], Any]:
        from django.http import JsonResponse

        get = self.cache.get
        return lambda _request: JsonResponse({"value": get(KEY)})

    def _query(self) -> Callable[[Any], Any]:
        from kck_flow.registry import registry
        from kck_flow.store import products
        from kck_flow.store.session import caller

        session, key = caller("default"), registry.key(KEY)
        stamp = self.etag.strip('"').rpartition("-")[0] if self.known else ""
        return lambda _request: products.fresh_plain(session, key, 1, probe=False, known=stamp)

    def size(self) -> int:
        """Return how many bytes an answer has."""
        answer = self.caller()(next(self.requests(1))[0])
        return len(answer.text or "") if self.how == "query" else len(answer.content)
