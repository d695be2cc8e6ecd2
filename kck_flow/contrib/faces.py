"""What the adapters share: a request of theirs is answered as the package's own addresses answer it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..api import resources
from ..dashboards import faces, views

_TYPES = {"application/json": "json", "text/csv": "csv"}


def product(request: HttpRequest, key: str, user: Any = None) -> HttpResponseBase:
    """Answer with a product: the same bytes, ETag, permission and problem details as at its own address.

    Args:
        key: As in an address of ours, such as ``title/5``.
        user: Who asks, as the other package knows it; else the request's.
    """
    return resources.show_product(_as(request, user), key, _face(request))


def products(request: HttpRequest, user: Any = None) -> HttpResponseBase:
    """Answer with the products that whoever asks may see; as ``products``."""
    return views.show_products(_as(request, user), _face(request))


def _as(request: HttpRequest, user: Any) -> HttpRequest:
    # What else their authentication may have found, such as the text of a token, is nobody.
    if hasattr(user, "is_authenticated"):
        request.user = user
    return request


def _face(request: HttpRequest) -> str:
    try:
        return "csv" if faces.face_of(request, None) == "csv" else "json"
    except faces.Refused:
        return "json"
