"""The addresses of products, as programs use them: read in any face, set, unset, refreshed, made unservable."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from ..dashboards import compared, faces, product, ranges
from ..dashboards.pages import Page
from ..dashboards.ranges import BadParameter
from ..dashboards.views import frame_of, key_of, range_of
from ..dashboards.visitors import user_of
from . import series, values, writes

_READ = ("GET", "HEAD", "OPTIONS")


@csrf_exempt  # asked for in ``writes``, of those who come with a session
def show_product(request: HttpRequest, key: str, face: str | None = None) -> HttpResponseBase:
    """A product: its value, or with any of the parameters of a series what it held over time; or a change of it."""
    if request.method not in _READ:
        return writes.answer(request, key, face)

    def build(asked: str) -> Page:
        found = key_of(key, user_of(request), asked)
        return _read(request, found, asked)

    return faces.respond(
        request,
        face,
        build,
        known=(*ranges.PARAMETERS, "split", "facet", "limit", "next", "order", *compared.PARAMETERS),
        frame=frame_of(request, "products"),
        methods=writes.METHODS,
    )


def _read(request: HttpRequest, key: Any, face: str) -> Page:
    if face in ("json", "csv"):
        for name in compared.PARAMETERS:
            if name in request.GET:
                raise BadParameter(name, f"{name} is a parameter of the product's page, not of its data.")
        if request.GET and series.is_asked_for(request):
            return series.page(request, key, face)
        extras: list[str] = []
        if request.GET:
            if request.GET.keys() & ranges.PARAMETERS:
                range_of(request)  # a value has none; what is wrong with it is told all the same
            extras = [one for one in faces.form_of(request)[1] if one == "layout"]
        return values.page(key, face, request.META.get("HTTP_IF_NONE_MATCH", ""), extras)
    series.refuse_elsewhere(request, face)
    user = user_of(request)
    return product.page(key, user, range_of(request), "products", request.GET.get("split", ""), request.GET)
