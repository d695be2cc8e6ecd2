"""Products in an API of Django Ninja's: ``api.add_router("flow", kck_flow.contrib.ninja.router())``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Query, Router, Schema
from ninja.constants import NOT_SET
from pydantic import ConfigDict, Field

from . import faces


class Meta(Schema):
    """What is known of a value."""

    model_config = ConfigDict(extra="allow")

    key: str
    label: str
    kind: str
    unit: str | None
    unit_plural: str | None
    state: Literal["fresh", "stale", "computing", "failed", "empty"]
    version: int | None
    computed_at: datetime | None
    fresh_until: datetime | None
    complete: bool


class Value(Schema):
    """A product's value."""

    value: Any
    meta: Meta


class Rows(Schema):
    """What a product held over time, or a list of products."""

    rows: list[Any]
    next: str | None
    meta: dict[str, Any]


class Problem(Schema):
    """What is wrong, and what to do (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


class Asked(Schema):
    """Which range, by which steps; with any of them, what the product held over time is the answer."""

    range: str | None = Field(
        None, description="24h 7d 30d 90d 12m 24m, or a number of hours, days, weeks or months"
    )
    from_: str | None = Field(None, alias="from", description="A day or an instant")
    to: str | None = Field(None, description="A day or an instant; a day that is the last is included")
    by: Literal["hour", "day", "week", "month"] | None = None
    tz: str | None = None
    complete: str | None = Field(None, description="1: only steps that are over")
    facet: str | None = Field(None, description="One facet value of a stock or a flow, such as plan=pro")
    limit: int | None = Field(None, ge=1, description="How many rows")
    next: str | None = Field(None, description="Where the rows go on, as the answer before said")
    order: str | None = None
    shape: Literal["objects", "arrays"] | None = None
    extra: str | None = None


class Listed(Schema):
    """Which products."""

    q: str | None = Field(None, description="What their key or label contains")
    limit: int | None = Field(None, ge=1, description="How many")
    next: str | None = Field(None, description="Where the list goes on, as the answer before said")


_PROBLEMS = dict.fromkeys(((400, 401, 403, 404, 406, 503)), Problem)


def router(*, auth: Any = NOT_SET, tags: list[str] | None = None) -> Router:
    """Return a router with ``products`` and ``products/{key}``.

    Answers, permissions, ETags and problem details are those of the package's own addresses, which have to be in the
    project's URLs as well. A user that ``auth`` finds is who asks; of any other authentication, the session's.

    Args:
        auth: As of ``Router``; that of the API where not given.
        tags: In the API's document; ``products`` where not given.
    """
    made = Router(auth=auth, tags=tags or ["products"])

    @made.get("products", response={200: Rows, **_PROBLEMS}, summary="Products", exclude_unset=True)
    def list_products(request: HttpRequest, asked: Query[Listed]) -> HttpResponseBase:
        return faces.products(request, getattr(request, "auth", None))

    @made.get("products/{path:key}", response={200: Value | Rows, **_PROBLEMS}, summary="A product")
    def read_product(request: HttpRequest, key: str, asked: Query[Asked]) -> HttpResponseBase:
        return faces.product(request, key, getattr(request, "auth", None))

    return made
