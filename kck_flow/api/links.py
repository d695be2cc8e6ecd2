"""Signed links: one tile, chart or process for whoever has the link, until it expires or is revoked.

What it shows, how, and until when is in the link, under a signature; whether it was revoked, and which pages may frame
it, is in the table of its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from .. import clock, wording
from ..codec import encode_plain
from ..dashboards import faces, processes, product, ranges, visitors
from ..dashboards.faces import Refused
from ..dashboards.pages import Page, address
from ..dashboards.views import refusal
from ..errors import KckFlowError
from ..key import Key
from ..permission import EXPORT, may
from ..process import Process
from ..registry import registry
from ..store import links
from .asking import body_of, refuse_forged

SALT: Final = "kck_flow.link"
SHOWS: Final = ("tile", "chart", "process")
DEFAULT_DAYS, MOST_DAYS = 30, 1100
_NAME: Final = re.compile(r"[-a-zA-Z0-9_]{1,80}")
_ANCESTOR: Final = re.compile(r"'self'|https?://(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:\d{1,5})?")
_MEMBERS: Final = (
    "name", "show", "range", "from", "to", "by", "compare", "tz", "complete", "theme", "expires_in", "contact",
    "frame_ancestors",
)  # fmt: skip
# What whoever has a link may still choose: how it is sent, not what it shows.
_CHOSEN: Final = ("dl", "bom", "width", "shape", "extra")


# -- given


def share(request: HttpRequest, key: Key) -> HttpResponse:
    """Answer ``POST key/share``: make a link, 201 with its addresses."""
    body = body_of(request, _MEMBERS, needed=("name",))
    name, show = body["name"], body.get("show") or _show_of(key)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _bad("name", "name is 1 to 80 letters, digits, hyphens and underscores")
    if show not in SHOWS or (show == "process") != (_show_of(key) == "process"):
        raise _bad("show", f"show is one of {', '.join(SHOWS)}; process of a process, and of nothing else")
    if body.get("theme") not in (None, *faces.THEMES):
        raise _bad("theme", "theme is light or dark")
    contact = body.get("contact", "")
    if not isinstance(contact, str) or len(contact) > 200:
        raise _bad("contact", "contact is a text of at most 200 characters")
    now = clock.now()
    expires_at = (now + _lasts(body)).replace(microsecond=0)
    given = _parameters(body, now)
    user = visitors.user_of(request)
    made = links.create(
        name,
        {
            "key": str(key),
            "made_by": str(getattr(user, "pk", "") or ""),
            "contact": contact or _called(user),
            "frame_ancestors": _ancestors(body.get("frame_ancestors", [])),
            "made_at": now,
            "expires_at": expires_at,
        },
    )
    if made is None:
        raise Refused(
            409, "Name taken", f"There has been a link {name!r}. Give this one another name.", member="name"
        )
    told = {"n": name, "k": str(key), "s": show, "p": given, "e": int(expires_at.timestamp())}
    if body.get("theme"):
        told["t"] = body["theme"]
    href = request.build_absolute_uri(address("shared", sign(told)))
    told_of_it = {
        "name": name,
        "key": str(key),
        "show": show,
        "expires_at": expires_at,
        "href": href,
        "svg": f"{href}.svg",
        "json": f"{href}.json",
        "csv": f"{href}.csv",
        "revoke": request.build_absolute_uri(address("links", name)),
    }
    response = HttpResponse(encode_plain(told_of_it), content_type=faces.TYPES["json"], status=201)
    response.headers["Location"] = href
    response.headers["Cache-Control"] = "no-store"
    return response


def sign(told: Mapping[str, Any]) -> str:
    """Return what a link says, signed."""
    return signing.Signer(salt=SALT).sign_object(dict(told))


def _bad(member: str, what: str) -> Refused:
    return Refused(400, "Bad body", f"{what}.", member=member)


def _show_of(key: Key) -> str:
    return "process" if isinstance(registry.primers.get(key.key_base), Process) else "chart"


def _lasts(body: Mapping[str, Any]) -> timedelta:
    given = body.get("expires_in", DEFAULT_DAYS * 86_400)
    if (
        isinstance(given, bool)
        or not isinstance(given, (int, float))
        or not 60 <= given <= MOST_DAYS * 86_400
    ):
        raise _bad("expires_in", f"expires_in is a number of seconds, from 60 to {MOST_DAYS} days")
    return timedelta(seconds=given)


def _parameters(body: Mapping[str, Any], now: datetime) -> dict[str, str]:
    given = {}
    for name in ranges.PARAMETERS:
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool):
            value = "1" if value else "0"
        if not isinstance(value, str):
            raise _bad(name, f"{name} is a text, as in an address")
        given[name] = value
    over = ranges.read(given, now)  # says what is wrong with them
    given["tz"] = over.zone.key
    return given


def _ancestors(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(
        isinstance(one, str) and _ANCESTOR.fullmatch(one) for one in given
    ):
        raise _bad(
            "frame_ancestors", "frame_ancestors is a list of origins, such as https://example.org, or 'self'"
        )
    return given


def _called(user: Any) -> str:
    return str(getattr(user, "get_full_name", lambda: "")() or user)[:200]


# -- looked at


@csrf_exempt
def show_shared(request: HttpRequest, token: str, face: str | None = None) -> HttpResponseBase:
    """What a signed link shows, in any face: to whoever has it, without a session, a cookie or a way elsewhere."""
    wanted = face or ("html" if request.accepts("text/html") else "json")
    rule: list[str] = []

    def look() -> HttpResponseBase:
        nonlocal wanted
        faces.refuse_method(request, ("GET", "HEAD", "OPTIONS"))
        wanted = faces.face_of(request, face)
        faces.refuse_unknown(request, _CHOSEN)
        told, row, maker = _held(token)
        rule[:] = row.frame_ancestors
        if wanted == "csv" and maker is not None and not may(maker, EXPORT, registry.key(told["k"])):
            raise Refused(403, _("Not permitted"), _("The table of this may not be taken away."))
        return faces.answer_with(
            request,
            _page(told, row, maker),
            wanted,
            lambda page: page.context,
            theme=told.get("t", ""),
            personal=False,
        )

    def tell(refused: Refused) -> HttpResponseBase:
        if wanted != "html":
            return faces.problem_details(refused)
        text = render_to_string("kck_flow/embed.html", {"refused": refused, "page": Page("", refused.title)})
        return HttpResponse(
            text, status=refused.status, content_type=faces.TYPES["html"], headers=refused.headers
        )

    response = faces.guarded(request, look, tell, ("GET", "HEAD", "OPTIONS"), tokens=False)
    response.headers["Content-Security-Policy"] = _policy(rule)
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex"
    response.xframe_options_exempt = True  # type: ignore[attr-defined] # its own policy says who may
    return response


def _held(token: str) -> tuple[dict[str, Any], Any, Any]:
    """Return (what a link says, its row, who gave it).

    Raises:
        Refused: it was changed (403), or holds no more (410).
    """
    try:
        told: dict[str, Any] = signing.Signer(salt=SALT).unsign_object(token)
    except (signing.BadSignature, ValueError):
        raise Refused(
            403, _("Not a valid link"), _("This link was changed, or was not given here. Ask for it anew.")
        ) from None
    row = links.one(told["n"])
    if row is None or row.key != told["k"]:
        raise Refused(410, _("Link withdrawn"), _("This link does not exist any more."))
    expires_at = datetime.fromtimestamp(told["e"], UTC)
    if row.revoked_at is not None:
        raise _over(_("Link withdrawn"), _("This link was withdrawn on %(when)s."), row.revoked_at, row)
    if clock.now() >= expires_at:
        raise _over(_("Link expired"), _("This link expired on %(when)s."), expires_at, row)
    maker = _maker(row)
    if maker is not None and not may(maker, "share", registry.key(told["k"])):
        raise _over(
            _("Link withdrawn"),
            _("Whoever gave this link may share this no more, as of %(when)s."),
            clock.now(),
            row,
        )
    return told, row, maker


def _over(title: str, detail: str, at: datetime, row: Any) -> Refused:
    told = detail % {"when": wording.day(at, year=True)}
    ask = _("Ask %(whom)s for a new one.") % {"whom": row.contact} if row.contact else ""
    return Refused(410, title, f"{told} {ask}".strip(), ended_at=at.isoformat(), contact=row.contact)


def _maker(row: Any) -> Any:
    """Return the user who gave a link; None where there is no such thing as users."""
    if not row.made_by or not apps.is_installed("django.contrib.auth"):
        return None
    model = get_user_model()
    try:
        found = model._default_manager.filter(pk=row.made_by).first()
    except (ValueError, TypeError):
        found = None
    if found is None:
        raise _over(
            _("Link withdrawn"), _("Whoever gave this link is gone, as of %(when)s."), clock.now(), row
        )
    return found


def _page(told: Mapping[str, Any], row: Any, maker: Any) -> Page:
    try:
        key = registry.key(told["k"])
    except KckFlowError as error:
        raise Refused(410, _("Link withdrawn"), str(error)) from None
    over = ranges.read(told["p"], clock.now())
    primer = registry.primers.get(key.key_base)
    made = (
        processes.page(key, primer, maker, over, "")
        if isinstance(primer, Process)
        else product.series_page(key, maker, over, "metric.html")
    )
    expires_at = datetime.fromtimestamp(told["e"], UTC)
    theme = told.get("t", "")
    picture = made.picture(theme or "light", 720) if made.picture is not None and told["s"] != "tile" else ""
    made.context = {
        "show": told["s"],
        "theme": theme,
        "tile": made.context.get("tile"),
        "chart": made.context.get("chart"),
        "picture": picture,
        "over": over,
        "expires": wording.day(expires_at, year=True),
    }
    made.template = "embed.html"
    made.facts = [made.facts, told["e"]]
    return made


def _policy(ancestors: list[str]) -> str:
    """Return what a shared page may do: show itself, with this site's stylesheet, in the frames of the link's rule."""
    split = urlsplit(static("kck_flow/kck.css"))
    own = f" {split.scheme}://{split.netloc}" if split.netloc else ""
    return (
        f"default-src 'none'; style-src 'self'{own}; img-src 'self'{own}; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors {' '.join(ancestors) or chr(39) + 'none' + chr(39)}"
    )


# -- kept


@csrf_exempt
def show_links(request: HttpRequest, name: str | None = None, face: str | None = None) -> HttpResponseBase:
    """The links that were given for what the user may share; ``DELETE links/name`` revokes one."""

    def answer() -> HttpResponseBase:
        methods = ("DELETE", "OPTIONS") if name else ("GET", "HEAD", "OPTIONS")
        faces.refuse_method(request, methods)
        faces.refuse_unknown(request, ())
        return _revoke(request, name) if name else _listed(request)

    return faces.guarded(
        request, answer, faces.problem_details, ("DELETE", "OPTIONS") if name else ("GET", "HEAD", "OPTIONS")
    )


def _listed(request: HttpRequest) -> HttpResponse:
    user = visitors.user_of(request)
    if user is None or not user.is_authenticated:
        raise refusal(user, _("the links"))
    rows = [
        {
            "name": row.name, "key": row.key, "contact": row.contact, "frame_ancestors": row.frame_ancestors,
            "made_at": row.made_at, "expires_at": row.expires_at, "revoked_at": row.revoked_at,
        }
        for row in links.every()
        if may(user, "share", row.key)
    ]  # fmt: skip
    body = encode_plain({"rows": rows, "next": None, "meta": {"unstable": True}})
    response = HttpResponse(body, content_type=faces.TYPES["json"])
    response.headers["Cache-Control"] = "no-store"
    return response


def _revoke(request: HttpRequest, name: str) -> HttpResponse:
    refuse_forged(request)
    user = visitors.user_of(request)
    row = links.one(name)
    if user is None or not user.is_authenticated:
        raise refusal(user, _("the links"))
    if row is None or not may(user, "share", row.key):
        raise Refused(404, "Not found", f"You have given no link {name!r}.")
    links.revoke(name, clock.now())
    response = HttpResponse(status=204)
    del response.headers["Content-Type"]
    return response
