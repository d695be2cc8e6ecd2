"""The address of a stock's members: the admin's own list of them where it has one, else a page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from . import faces, members, ranges
from .faces import Refused
from .pages import Page
from .views import frame_of, key_of
from .visitors import user_of


@csrf_exempt  # it changes nothing; what may not be done here is told as everything else is
def show_members(request: HttpRequest, key: str, face: str | None = None) -> HttpResponseBase:
    """The rows that a stock counts; ``facet.plan=pro`` those of a facet value."""
    user = user_of(request)
    facets = {name[6:]: str(value) for name, value in request.GET.items() if name.startswith("facet.")}

    def build(asked: str) -> Page:
        found = members.asked_for(key_of(key, user), user, facets)
        limit = faces.number(request, "limit", None, 1, 10_000)
        exactly = request.GET.get("count", "") == "exact"
        if request.GET.get("count", "exact") != "exact":
            raise Refused(400, "Bad parameter", "count is exact, or left out.", parameter="count")
        token, whole = request.GET.get("next", ""), asked == "csv" and limit is None
        return members.page(found, user, limit, token, exactly=exactly, whole=whole)

    if face is None and request.method in ("GET", "HEAD"):
        elsewhere = ""
        try:
            if faces.face_of(request, face) == "html":
                elsewhere = members.list_address(members.asked_for(key_of(key, user), user, facets), user)
        except Refused:
            pass  # said below, in the face that was asked for
        if elsewhere:
            return HttpResponseRedirect(elsewhere)
    return faces.respond(
        request,
        face,
        build,
        known=(*ranges.PARAMETERS, "facet", "count", "limit", "next"),
        frame=frame_of(request, "products"),
    )
