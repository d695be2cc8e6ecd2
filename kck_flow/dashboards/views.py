"""The addresses: each a page with four faces, guarded by the one permission function."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from .. import clock
from .. import key as keys
from ..errors import InvalidKey, NotPrimed
from ..key import Key
from ..metric import Metric
from ..permission import EXPORT, VIEW, allows, is_known, may, may_all
from ..registry import registry
from . import compared, declared, faces, lists, overview, product, ranges
from .faces import Refused
from .pages import Page, address
from .visitors import user_of


@csrf_exempt  # it changes nothing; what may not be done here is told as everything else is
def show_overview(request: HttpRequest, face: str | None = None) -> HttpResponseBase:
    """The overview: every product that stands alone, in sections."""

    def build(_face: str) -> Page:
        user = user_of(request)
        if not allows(None, user, VIEW, "overview") and not overview.groups(user)[0]:
            raise refusal(user, "the overview")
        return overview.overview(user, range_of(request))

    return faces.respond(
        request, face, build, known=(*ranges.PARAMETERS,), frame=frame_of(request, "overview")
    )


@csrf_exempt  # it changes nothing; what may not be done here is told as everything else is
def show_dashboards(request: HttpRequest, face: str | None = None) -> HttpResponseBase:
    """The dashboards that there are."""

    def build(_face: str) -> Page:
        return lists.dashboards(user_of(request))

    return faces.respond(request, face, build, frame=frame_of(request, "dashboards"))


@csrf_exempt  # it changes nothing; what may not be done here is told as everything else is
def show_dashboard(
    request: HttpRequest, slug: str, rest: str | None = None, face: str | None = None
) -> HttpResponseBase:
    """One dashboard; with parameters, one of their values each."""

    def build(_face: str) -> Page:
        user = user_of(request)
        found = lists.dashboard_of(slug)
        if found is None:
            raise Refused(404, "Not found", lists.no_dashboard(slug, user))
        if not allows(found.permission, user, VIEW, found):
            raise refusal(user, f"the dashboard {slug!r}")
        params = lists.parameters_of(found, rest or "")
        return declared.page(found, params, user, range_of(request))

    return faces.respond(request, face, build, known=ranges.PARAMETERS, frame=frame_of(request, "dashboards"))


def _listing(place: str) -> Callable[..., HttpResponseBase]:
    @csrf_exempt
    def show(request: HttpRequest, face: str | None = None) -> HttpResponseBase:
        def build(_face: str) -> Page:
            return lists.products(
                place,
                user_of(request),
                range_of(request),
                request.GET.get("q", ""),
                faces.number(request, "limit", 200, 1, 10_000) or 200,
                request.GET.get("next", ""),
            )

        return faces.respond(
            request,
            face,
            build,
            known=(*ranges.PARAMETERS, "q", "limit", "next"),
            frame=frame_of(request, place),
        )

    return show


show_processes, show_metrics, show_products, show_frames = map(
    _listing, ("processes", "metrics", "products", "frames")
)


def _single(place: str) -> Callable[..., HttpResponseBase]:
    @csrf_exempt
    def show(request: HttpRequest, key: str, face: str | None = None) -> HttpResponseBase:
        def build(asked: str) -> Page:
            user = user_of(request)
            found = key_of(key, user, asked)
            split = request.GET.get("split", "")
            return product.page(found, user, range_of(request), place, split, request.GET)

        return faces.respond(
            request,
            face,
            build,
            known=(*ranges.PARAMETERS, "split", "facet", *compared.PARAMETERS),
            frame=frame_of(request, place),
        )

    return show


show_process, show_metric, show_frame = map(_single, ("processes", "metrics", "frames"))


def key_of(text: str, user: Any, face: str = "") -> Key:
    """Return the key that an address names.

    Args:
        face: That is asked for: what is a table to take away may be refused to who may look.

    Raises:
        Refused: there is no such product, or the user may not see it.
    """
    try:
        key = registry.key(text)
        primer = registry.primers.get(key.key_base)
    except InvalidKey as error:
        base = keys.base_of(text)
        if base in registry.primers and not may_all(user, VIEW, base) and not is_known(user):
            raise refusal(user, f"{text!r}") from None  # what it takes is nobody's business
        raise Refused(404, "Not found", str(error)) from None
    if not may(user, VIEW, key):
        if primer is not None and primer.permission == "nobody":
            raise Refused(404, "Not found", _no_product(key, user))
        raise refusal(user, f"{str(key)!r}")
    if face == "csv" and not may(user, EXPORT, key):
        raise refusal(user, _("the table of %(what)s") % {"what": repr(str(key))})
    if primer is None and not lists.is_stored(key):
        raise Refused(404, "Not found", _no_product(key, user))
    if isinstance(primer, Metric) and primer.stored_as_rows:
        try:
            primer.of(key)
        except NotPrimed as error:
            raise Refused(404, "Not found", str(error)) from None
    return key


def _no_product(key: Key, user: Any) -> str:
    """Return the sentence for a product that is not there; of the others it names what the user may see."""
    seen = [base for base in registry.primers if may_all(user, VIEW, base)]
    near = difflib.get_close_matches(key.key_base, seen, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no product {str(key)!r}.{hint}"


def refusal(user: Any, what: str) -> Refused:
    """Return the refusal of what a user may not see: 401 of somebody unknown, 403 of somebody known."""
    if user is None or not user.is_authenticated:
        return Refused(401, _("Not logged in"), _("You have to log in to see %(what)s.") % {"what": what})
    return Refused(
        403,
        _("Not permitted"),
        _("You may not see %(what)s. Whoever keeps this site can give you the permission.") % {"what": what},
    )


def range_of(request: HttpRequest) -> ranges.Range:
    """Return the range that a request asks for, the same for all of its page. Raises BadParameter."""
    held: ranges.Range | None = getattr(request, "_kck_range", None)
    if held is None:
        held = ranges.read({name: str(value) for name, value in request.GET.items()}, clock.now())
        setattr(request, "_kck_range", held)  # noqa: B010
    return held


def frame_of(request: HttpRequest, place: str) -> Callable[[Page], dict[str, Any]]:
    """Return what the template of every page needs: where it stands, the time bar, its other faces."""

    def frame(page: Page) -> dict[str, Any]:
        try:
            over: Any = range_of(request)
        except ranges.BadParameter:
            over = None
        given = {name: str(value) for name, value in request.GET.items() if name not in ("theme", "dl")}
        theme = _theme(request)
        path = request.path
        stem = path.rpartition(".")[0] if path.endswith((".html", ".json", ".csv", ".svg")) else path
        root = address("")
        if stem == root:
            stem = f"{root}overview"
        query = f"?{request.GET.urlencode()}" if request.GET else ""
        return {
            "places": [
                ("overview", _("Overview"), root),
                ("processes", _("Processes"), address("processes")),
                ("metrics", _("Metrics"), address("metrics")),
                ("products", _("Products"), address("products")),
                ("frames", _("Time frames"), address("frames")),
            ],
            "place": place,
            "root": root,
            "over": over,
            "named_ranges": ranges.NAMED,
            "steps": ranges.STEPS,
            "compares": ranges.COMPARE,
            "kept": [
                (name, value)
                for name, value in given.items()
                if name not in ranges.PARAMETERS
                # The form says itself which facet value it is.
                and not (page.context.get("slices") and name.partition(".")[0] == "facet")
            ],
            "theme": theme,
            "other_theme": "light" if theme == "dark" else "dark",
            "face_links": [
                (face, f"{stem}.{face}{query}")
                for face in ("csv", "json", *(("svg",) if page.picture else ()))
            ],
            "dashboards": lists.seen_dashboards(user_of(request)),
            "now": clock.now(),
            "version": page.version(),
            "user": user_of(request),
        }

    return frame


def _theme(request: HttpRequest) -> str:
    try:
        return faces.theme_of(request)
    except Refused:
        return ""
