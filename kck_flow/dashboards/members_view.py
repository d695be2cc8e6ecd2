"""The address of a stock's members: the admin's own list of them where it has one, else a page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from . import faces, members, ranges
from .faces import Refused
from .pages import Page
from .views import _frame, _user, key_of


@require_safe
def show_members(request: HttpRequest, key: str, face: str | None = None) -> HttpResponseBase:
    """The rows that a stock counts; ``facet.plan=pro`` those of a facet value."""
    user = _user(request)
    facets = {name[6:]: str(value) for name, value in request.GET.items() if name.startswith("facet.")}

    def build(asked: str) -> Page:
        found = members.asked_for(key_of(key, user), user, facets)
        limit = _limit(request)
        exactly = request.GET.get("count") == "exact"
        token, whole = request.GET.get("next", ""), asked == "csv" and limit is None
        return members.page(found, user, limit, token, exactly=exactly, whole=whole)

    if face is None:
        try:
            elsewhere = members.list_address(members.asked_for(key_of(key, user), user, facets), user)
        except Refused:
            elsewhere = ""  # said below, in the face that was asked for
        if elsewhere:
            return HttpResponseRedirect(elsewhere)
    return faces.respond(
        request, face, build, known=(*ranges.PARAMETERS, "facet", "count"), frame=_frame(request, "products")
    )


def _limit(request: HttpRequest) -> int | None:
    text = request.GET.get("limit", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10_000):
        raise Refused(
            400, "Bad parameter", f"limit is a number from 1 to 10000, not {text!r}.", parameter="limit"
        )
    return int(text)
