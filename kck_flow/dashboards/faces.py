"""A page is given one of its four faces: HTML, JSON, CSV or SVG; and so is what went wrong."""

from __future__ import annotations

import csv
import difflib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import Error as DatabaseErrors
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotModified,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.http import content_disposition_header, http_date, parse_etags

from .. import clock
from ..codec import encode_plain
from ..conf import conf
from ..errors import KckFlowError, StoreUnavailable, WaitTimeout
from . import pulse, ranges, stream, visitors
from .pages import FACES, Page

logger = logging.getLogger("kck_flow")

TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "svg": "image/svg+xml",
}
PROBLEM: Final = "application/problem+json"
# What an address may say besides what its page knows.
COMMON: Final = ("dl", "theme", "width", "bom", "shape", "extra")
THEMES: Final = ("light", "dark")
THEME_COOKIE: Final = "kck_theme"
EXPOSED: Final = "ETag, Last-Modified, Link, Location, Retry-After"
# Cells that a spreadsheet would run; the last four are the first four to one that reads full-width signs.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_BOM: Final = "\ufeff"
# Width, byte order mark, whether it is a file to keep, shape and extras, where an address says nothing of them.
_PLAINLY: Final[tuple[int, bool, bool, tuple[str, list[str]]]] = (960, False, False, ("objects", []))
_FLAGS: Final = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


class Refused(Exception):
    """A request is not answered with a page.

    Attributes:
        status: 400, 401, 403, 404, 409, 503 …
        title: In two or three words.
        detail: What is wrong, and what to do.
        headers: Of the response.
        more: Further members of the problem details.
    """

    def __init__(
        self, status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.more = status, title, detail, more
        self.headers = dict(headers or {})


def face_of(request: HttpRequest, ending: str | None) -> str:
    """Return the face that is asked for: by the ending of the address, else by ``Accept``.

    Raises:
        Refused: none of those that it accepts is there.
    """
    if ending:
        return ending
    preferred = request.get_preferred_type([TYPES[face].partition(";")[0] for face in FACES])
    if preferred is None:
        raise Refused(406, "Not acceptable", f"This address has the faces {', '.join(TYPES.values())}.")
    return next(face for face in FACES if TYPES[face].startswith(preferred))


def respond(
    request: HttpRequest,
    ending: str | None,
    build: Callable[[str], Page],
    *,
    known: Sequence[str] = (),
    frame: Callable[[Page], dict[str, Any]],
    methods: Sequence[str] = ("GET", "HEAD", "OPTIONS"),
) -> HttpResponseBase:
    """Answer a request with one face of a page, or with what is wrong.

    Args:
        ending: Of the address, ``json`` …; None or empty where it has none.
        build: Makes the page, for a face.
        known: Parameters that the page has besides those of every page; others are a mistake.
        frame: What the template of every page needs.
        methods: What may be done at this address.
    """
    # Whoever accepts none of the faces, or what is no face, is told so as a program is.
    face = ending or ("html" if request.accepts("text/html") else "json")

    def answer() -> HttpResponseBase:
        nonlocal face
        refuse_method(request, methods)
        if stream.is_asked_for(request, ending):
            refuse_unknown(request, (*known, *COMMON), facets="facet" in known)
            return _streamed(request, build("html"))
        face = face_of(request, ending)
        refuse_unknown(request, (*known, *COMMON), facets="facet" in known)
        return answer_with(request, build(face), face, frame)

    response = guarded(request, answer, lambda refused: problem(request, refused, face, frame), methods)
    if not ending:
        patch_vary_headers(response, ("Accept",))
    if face == "html" and request.GET.get("theme") and response.status_code == 200:
        _remember_theme(request, response)
    return response


def _streamed(request: HttpRequest, page: Page) -> HttpResponseBase:
    """Return the stream of a page: what tells that it has changed."""
    if not page.keys or not stream.is_there(request):
        raise Refused(
            406,
            "No stream",
            "This page has no stream: it takes KCK_FLOW['LIVE'] = 'stream', a server that runs the project under "
            "ASGI, and a page of products.",
        )
    response = stream.respond(request, page)
    if response is None:
        raise Refused(
            503,
            "Too many streams",
            f"This process keeps {conf.LIVE_CLIENTS} streams open, as many as KCK_FLOW['LIVE_CLIENTS'] says.",
            headers={"Retry-After": "300"},
        )
    return response


def _remember_theme(request: HttpRequest, response: HttpResponseBase) -> None:
    """Keep the theme that was chosen for the other pages; without scripts, too."""
    theme, root = request.GET["theme"], reverse("kck_flow:index")
    if theme in THEMES:
        year = 366 * 86_400
        response.set_cookie(
            THEME_COOKIE, theme, year, path=root, samesite="Lax", httponly=True, secure=request.is_secure()
        )
    else:
        response.delete_cookie(THEME_COOKIE, path=root, samesite="Lax")


def guarded(
    request: HttpRequest,
    answer: Callable[[], HttpResponseBase],
    told: Callable[[Refused], HttpResponseBase],
    methods: Sequence[str],
    *,
    tokens: bool = True,
) -> HttpResponseBase:
    """Return an answer, or whatever is wrong told in one shape; never a traceback.

    Args:
        tokens: Whether it matters who asks: then a token that is nobody's is refused.
    """
    response: HttpResponseBase
    try:
        if request.method == "OPTIONS":
            return _options(request, methods)
        if tokens and visitors.is_refused(request):
            raise Refused(
                401,
                "Token not valid",
                "The token is not valid, or not any more.",
                headers={"WWW-Authenticate": 'Bearer realm="kck_flow", error="invalid_token"'},
            )
        response = answer()
    except Refused as refused:
        response = told(refused)
    except ranges.BadParameter as error:
        response = told(Refused(400, "Bad parameter", str(error), parameter=error.name))
    except Exception as error:
        response = told(_unexpected(request, error))
    cors(request, response)
    return response


def _unexpected(request: HttpRequest, error: Exception) -> Refused:
    """Return what is told of an error that nobody has foreseen; where it is not ours, raise it."""
    if isinstance(error, (Http404, PermissionDenied, SuspiciousOperation)):
        raise error
    if isinstance(error, (StoreUnavailable, WaitTimeout)):
        return Refused(503, "Not available", str(error), headers={"Retry-After": "5"})
    if isinstance(error, KckFlowError):
        return Refused(503, "Not available", str(error), headers={"Retry-After": "30"})
    if isinstance(error, DatabaseErrors):
        logger.error("page.failed path=%s", request.path, exc_info=error)
        return Refused(503, "Not available", "The database does not answer.", headers={"Retry-After": "5"})
    if settings.DEBUG:
        raise error
    logger.error("page.failed path=%s", request.path, exc_info=error)
    got_request_exception.send(
        sender=None, request=request
    )  # whoever reports errors is told of this one, too
    return Refused(500, "Broken", "This could not be answered. Whoever keeps this site finds why in its log.")


def refuse_method(request: HttpRequest, methods: Sequence[str]) -> None:
    """Raise Refused unless this may be done at this address."""
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise Refused(
            405,
            "Method not allowed",
            f"{request.method} is not for this address, which has {allowed}.",
            headers={"Allow": allowed},
        )


def refuse_unknown(request: HttpRequest, allowed: Sequence[str], *, facets: bool = False) -> None:
    """Raise Refused where a request has a parameter that the address has not."""
    for name in request.GET or ():
        if name not in allowed and not (facets and name.startswith("facet.")):
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            has = f"It has: {', '.join(sorted(allowed))}." if allowed else "It has none."
            raise Refused(
                400,
                "Unknown parameter",
                f"This address has no parameter {name!r}.{hint} {has}",
                parameter=name,
            )


def answer_with(
    request: HttpRequest,
    page: Page,
    face: str,
    frame: Callable[[Page], dict[str, Any]],
    *,
    theme: str | None = None,
    personal: bool = True,
) -> HttpResponseBase:
    """Return one face of a page, or that the client has it.

    Args:
        theme: Fixes it; else it is asked for, or was chosen before.
        personal: Whether it may depend on who looks.
    """
    if theme is None:
        theme = theme_of(request, face)
    width, bom, download, wanted = _PLAINLY
    if request.GET:
        width, bom, download, wanted = (
            _width(request),
            flag(request, "bom"),
            flag(request, "dl"),
            form_of(request),
        )
    if face == "svg" and page.picture is None:
        raise Refused(406, "No picture", "This page has no picture; its numbers are at .json and .csv.")
    whole = face == "html" and personal  # what is shared by a link stands alone
    idle = pulse.idle(visitors.user_of(request)) if whole else ""
    etag = _etag(
        page,
        face,
        theme,
        width,
        getattr(request, "LANGUAGE_CODE", ""),
        _greeted(request, personal and face == "html") + idle,
    )
    response: HttpResponseBase
    if is_known(request, etag):
        response = HttpResponseNotModified()
    elif face == "json":
        body = page.body if page.body is not None else as_json(page, *wanted)
        response = HttpResponse(body, content_type=TYPES["json"])
    elif face == "csv":
        lines = () if request.method == "HEAD" else _csv(page, bom)
        response = StreamingHttpResponse(lines, content_type=TYPES["csv"])
    elif face == "svg":
        assert page.picture is not None
        response = HttpResponse(page.picture(theme or "light", width), content_type=TYPES["svg"])
    else:
        live = pulse.told(request, page, etag) if whole else None
        context = {"page": page, **frame(page), "live": live, "idle": idle, **page.context}
        response = HttpResponse(
            render_to_string(f"kck_flow/{page.template}", context, request), content_type=TYPES["html"]
        )
    headers = response.headers
    headers["ETag"] = etag
    headers["X-Content-Type-Options"] = "nosniff"
    if page.modified is not None:
        headers["Last-Modified"] = _http_date(int(page.modified.timestamp()))
    headers["Cache-Control"] = _cache_control(page, face)
    if personal and ("private" in headers["Cache-Control"] or face in ("html", "svg")):
        patch_vary_headers(response, ("Cookie", "Authorization"))
    if page.next:
        link = request.build_absolute_uri(
            f"{request.path}?{urlencode({**request.GET.dict(), 'next': page.next})}"
        )
        headers["Link"] = f'<{link}>; rel="next"'
    if download and face != "html" and response.status_code == 200:
        name = "".join(one if one.isalnum() or one in "-_. " else "_" for one in page.title)[:80] or "kck"
        headers["Content-Disposition"] = content_disposition_header(True, f"{name}.{face}") or ""
    return response


# The same again and again: a product's instant changes less often than it is asked for.
_http_date = lru_cache(maxsize=1024)(http_date)


def _greeted(request: HttpRequest, personal: bool) -> str:
    return str(visitors.user_of(request)) if personal else ""


def _etag(page: Page, face: str, theme: str, width: int, language: str, user: str) -> str:
    if page.etag and face == "json":
        return f'"{page.etag}"'
    parts = [page.etag] if page.etag else []
    if face == "html":
        # What it says of ages moves on by itself, and who looks is greeted by name: the same, but not byte for byte.
        return f'W/"{page.version(face, theme, language, user, *parts)}"'
    if face == "svg":
        parts += [theme, str(width)]
    return f'"{page.version(face, language, *parts)}"'


def is_known(request: HttpRequest, etag: str) -> bool:
    """Whether what the client has is what it would get."""
    given = request.META.get("HTTP_IF_NONE_MATCH")  # request.headers would first be made, of all there are
    if given is None or request.method not in ("GET", "HEAD"):
        return False
    if given == etag:
        return True
    known = [one.removeprefix("W/") for one in parse_etags(given)]
    return known == ["*"] or etag.removeprefix("W/") in known


def _cache_control(page: Page, face: str) -> str:
    who = "public" if page.public and face != "html" else "private"
    if page.expires_at is None or face == "html":
        return f"{who}, no-cache"
    now = clock.now()
    age = max(int((page.expires_at - now).total_seconds()), 0)
    told = f"{who}, max-age={age}"
    if page.stale_until is not None:
        beyond = int((page.stale_until - now).total_seconds()) - age
        if beyond > 0:
            told += f", stale-while-revalidate={beyond}"
    return told


def form_of(request: HttpRequest) -> tuple[str, list[str]]:
    """Return (shape, extras) that JSON is asked for in."""
    shape = request.GET.get("shape") or "objects"
    if shape not in ("objects", "arrays"):
        raise Refused(400, "Bad parameter", f"shape is objects or arrays, not {shape!r}.", parameter="shape")
    extras = [one for one in request.GET.get("extra", "").split(",") if one]
    for name in extras:
        if name not in ("columns", "layout"):
            raise Refused(
                400,
                "Bad parameter",
                f"extra is a list of columns and layout, not {name!r}.",
                parameter="extra",
            )
    return shape, extras


def as_json(page: Page, shape: str = "objects", extras: Sequence[str] = ()) -> bytes:
    """Return a page as JSON: its rows first, then where they go on, then what is said about them."""
    rows: Any = list(page.rows)
    if shape == "arrays":
        rows = [[row.get(name) for name in page.columns] for row in rows]
    body: dict[str, Any] = {"rows": rows, "next": page.next, "meta": page.meta}
    if shape == "arrays" or "columns" in extras:
        body["columns"] = list(page.columns)
    if "layout" in extras:
        body["layout"] = page.layout
    return encode_plain(body).encode()


def _csv(page: Page, bom: bool) -> Iterator[str]:
    if page.csv_rows is not None:
        return csv_lines((), page.csv_rows(), bom=bom, cut=page.next is not None)
    rows = ([row.get(name) for name in page.columns] for row in page.rows)
    return csv_lines(page.columns, rows, bom=bom, cut=page.next is not None)


class _Echo:
    """What a csv.writer writes to, that gives back each line."""

    def write(self, text: str) -> str:
        return text


def csv_lines(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, bom: bool = False, cut: bool = False
) -> Iterator[str]:
    """Yield a CSV line by line: texts that a spreadsheet would run are escaped, numbers are left as they are.

    Args:
        columns: Its first line; none where it is empty.
        bom: Whether it begins with a byte order mark, as some spreadsheets want for UTF-8.
        cut: Whether there is more than these rows: the last line says so.
    """
    writer: Any = csv.writer(_Echo(), lineterminator="\r\n")
    mark = _BOM if bom else ""
    if columns:
        yield mark + writer.writerow([cell(one) for one in columns])
        mark = ""
    try:
        for row in rows:
            yield mark + writer.writerow([cell(one) for one in row])
            mark = ""
    except Exception as error:  # its beginning is sent: what can still be told is that it is no whole
        logger.exception("page.broken_off error=%r", error)
        yield writer.writerow(["# cut: broken off by an error; ask again"])
        return
    if cut:
        yield mark + writer.writerow(["# cut: there are more rows; follow the Link header or raise limit"])


def cell(value: Any) -> Any:
    """Return a value as a cell: ISO 8601, numbers as they are, texts that begin like a formula behind an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else str(value)
    if isinstance(value, (int, float)) or type(value).__name__ == "Decimal":
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    text = encode_plain(value)
    return cell(json.loads(text)) if text.startswith('"') else text


def flag(request: HttpRequest, name: str) -> bool:
    """Return a parameter that is 1 or 0. Raises Refused: it is neither."""
    text = request.GET.get(name, "")
    if text.lower() not in _FLAGS:
        raise Refused(400, "Bad parameter", f"{name} is 1 or 0, not {text!r}.", parameter=name)
    return _FLAGS[text.lower()]


def number(request: HttpRequest, name: str, default: int | None, least: int, most: int) -> int | None:
    """Return a parameter that is a whole number. Raises Refused: it is none, or out of bounds."""
    text = request.GET.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise Refused(
            400,
            "Bad parameter",
            f"{name} is a number from {least} to {most}, not {text!r}.",
            parameter=name,
        )
    return int(text)


def theme_of(request: HttpRequest, face: str = "html") -> str:
    """Return the theme that is asked for, or chosen before; empty for the system's, and where nothing is drawn."""
    asked = request.GET.get("theme", "") if request.GET else ""
    if asked and asked not in (*THEMES, "system"):
        raise Refused(
            400, "Bad parameter", f"theme is light, dark or system, not {asked!r}.", parameter="theme"
        )
    theme = asked or (request.COOKIES.get(THEME_COOKIE, "") if face in ("html", "svg") else "")
    return theme if theme in THEMES else ""


def _width(request: HttpRequest) -> int:
    return number(request, "width", 960, 160, 4000) or 960


def problem(
    request: HttpRequest, refused: Refused, face: str, frame: Callable[[Page], dict[str, Any]]
) -> HttpResponseBase:
    """Return what is wrong: for people a page (or where to log in), for programs problem details (RFC 9457)."""
    if face != "html":
        return problem_details(refused)
    if refused.status == 401 and settings.LOGIN_URL:
        # As Django's own views do it, without its app: a site may know its visitors otherwise.
        back = urlencode({"next": request.get_full_path()}, safe="/")
        return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{back}")
    page = Page("problem.html", refused.title, context={"refused": refused})
    context = {"page": page, **frame(page), **page.context}
    text = render_to_string("kck_flow/problem.html", context, request)
    response = HttpResponse(text, status=refused.status, content_type=TYPES["html"], headers=refused.headers)
    response.headers["Cache-Control"] = "no-store"
    return response


def problem_details(refused: Refused) -> HttpResponse:
    """Return what is wrong for a program: problem details (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": str(refused.title),
        "status": refused.status,
        "detail": str(refused.detail),
        **refused.more,
    }
    response = HttpResponse(
        json.dumps(body), status=refused.status, content_type=PROBLEM, headers=refused.headers
    )
    if refused.status == 401:
        response.headers.setdefault("WWW-Authenticate", _challenge())
    response.headers["Cache-Control"] = "no-store"
    return response


def _challenge() -> str:
    return 'Bearer realm="kck_flow"' if conf.API_AUTH else 'Session realm="kck_flow"'


# -- other sites


def cors(request: HttpRequest, response: HttpResponseBase) -> None:
    """Say which other sites' scripts may read an answer: those of the setting, without cookies."""
    if not conf.CORS_ORIGINS:
        return
    patch_vary_headers(response, ("Origin",))
    origin = request.headers.get("Origin", "")
    if origin in conf.CORS_ORIGINS:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED


def _options(request: HttpRequest, methods: Sequence[str]) -> HttpResponse:
    """Return what may be done at an address; to a browser that asks first, also from which site, and how."""
    response = HttpResponse(status=204, headers={"Allow": ", ".join(methods)})
    del response.headers["Content-Type"]
    cors(request, response)
    if "Access-Control-Allow-Origin" in response.headers:
        response.headers["Access-Control-Allow-Methods"] = ", ".join(methods)
        response.headers["Access-Control-Allow-Headers"] = (
            "Accept, Authorization, Content-Type, If-Match, If-None-Match"
        )
        response.headers["Access-Control-Max-Age"] = "600"
    return response
