"""A page is given one of its four faces: HTML, JSON, CSV or SVG; and so is what went wrong."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.utils.http import http_date

from ..codec import encode_plain
from ..conf import conf
from . import ranges
from .pages import FACES, Page

TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "svg": "image/svg+xml",
}
# What an address may say besides what its page knows.
COMMON: Final = ("dl", "theme", "width", "bom", "shape", "extra", "limit", "next")
THEMES: Final = ("light", "dark")
# Cells that a spreadsheet would run.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_BOM: Final = "\ufeff"


class Refused(Exception):
    """A request is not answered with a page.

    Attributes:
        status: 400, 401, 403, 404, 409, 503 …
        title: In two or three words.
        detail: What is wrong, and what to do.
        more: Further members of the problem details.
    """

    def __init__(self, status: int, title: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.more = status, title, detail, more


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
) -> HttpResponseBase:
    """Answer a request with one face of a page, or with what is wrong.

    Args:
        ending: Of the address, ``json`` …; None or empty where it has none.
        build: Makes the page, for a face.
        known: Parameters that the page has besides those of every page; others are a mistake.
        frame: What the template of every page needs.
    """
    face = ending or "html"
    try:
        face = face_of(request, ending)
        _refuse_unknown(request, known)
        page = build(face)
        response = _answer(request, page, face, frame)
    except Refused as refused:
        response = problem(request, refused, face, frame)
    except ranges.BadParameter as error:
        response = problem(
            request, Refused(400, "Bad parameter", str(error), parameter=error.name), face, frame
        )
    if not ending:
        patch_vary_headers(response, ("Accept",))
    return _cors(request, response)


def _refuse_unknown(request: HttpRequest, known: Sequence[str]) -> None:
    import difflib

    allowed = (*known, *COMMON)
    for name in request.GET:
        if name not in allowed and not (name.startswith("facet.") and "facet" in known):
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise Refused(
                400,
                "Unknown parameter",
                f"This address has no parameter {name!r}.{hint} It has: {', '.join(sorted(allowed))}.",
                parameter=name,
            )


def _answer(
    request: HttpRequest, page: Page, face: str, frame: Callable[[Page], dict[str, Any]]
) -> HttpResponseBase:
    theme, width = theme_of(request), _width(request)
    etag = f'"{page.version(face, theme, width, getattr(request, "LANGUAGE_CODE", ""))}"'
    response: HttpResponseBase
    if _is_fresh(request, etag):
        response = HttpResponseNotModified()
    elif face == "json":
        body = page.body if page.body is not None else as_json(request, page)
        response = HttpResponse(body, content_type=TYPES["json"])
    elif face == "csv":
        response = _csv(request, page)
    elif face == "svg":
        if page.picture is None:
            raise Refused(406, "No picture", "This page has no picture; its numbers are at .json and .csv.")
        response = HttpResponse(page.picture(theme or "light", width), content_type=TYPES["svg"])
    else:
        context = {"page": page, **frame(page), **page.context}
        response = HttpResponse(
            render_to_string(f"kck_flow/{page.template}", context, request), content_type=TYPES["html"]
        )
    response.headers["ETag"] = etag
    if page.modified is not None:
        response.headers["Last-Modified"] = http_date(page.modified.timestamp())
    response.headers["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ("Cookie",))
    if page.next:
        link = request.build_absolute_uri(
            f"{request.path}?{urlencode({**request.GET.dict(), 'next': page.next})}"
        )
        response.headers["Link"] = f'<{link}>; rel="next"'
    if request.GET.get("dl") and face != "html":
        name = "".join(one if one.isalnum() or one in "-_." else "_" for one in page.title)[:80] or "kck"
        response.headers["Content-Disposition"] = (
            f'attachment; filename="{name.encode("ascii", "replace").decode()}.{face}"'
        )
    return response


def _is_fresh(request: HttpRequest, etag: str) -> bool:
    """Whether what the client has is what it would get."""
    given = request.headers.get("If-None-Match")
    if given is not None:
        return given.strip() == "*" or etag in [one.strip().removeprefix("W/") for one in given.split(",")]
    return False


def as_json(request: HttpRequest, page: Page) -> bytes:
    """Return a page as JSON: its rows first, then where they go on, then what is said about them."""
    shape = request.GET.get("shape") or "objects"
    if shape not in ("objects", "arrays"):
        raise Refused(400, "Bad parameter", f"shape is objects or arrays, not {shape!r}.", parameter="shape")
    rows: Any = list(page.rows)
    if shape == "arrays":
        rows = [[row.get(name) for name in page.columns] for row in rows]
    body: dict[str, Any] = {"rows": rows, "next": page.next, "meta": page.meta}
    if shape == "arrays":
        body["columns"] = list(page.columns)
    for name in filter(None, request.GET.get("extra", "").split(",")):
        if name == "columns":
            body["columns"] = list(page.columns)
        elif name == "layout":
            body["layout"] = page.layout
        else:
            raise Refused(
                400,
                "Bad parameter",
                f"extra is a list of columns and layout, not {name!r}.",
                parameter="extra",
            )
    return encode_plain(body).encode()


def _csv(request: HttpRequest, page: Page) -> StreamingHttpResponse:
    rows = (
        page.csv_rows()
        if page.csv_rows is not None
        else ([row.get(name) for name in page.columns] for row in page.rows)
    )
    lines = csv_lines(
        page.columns, rows, bom=request.GET.get("bom") in ("1", "true"), cut=page.next is not None
    )
    return StreamingHttpResponse(lines, content_type=TYPES["csv"])


class _Echo:
    """What a csv.writer writes to, that gives back each line."""

    def write(self, text: str) -> str:
        return text


def csv_lines(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, bom: bool = False, cut: bool = False
) -> Iterator[str]:
    """Yield a CSV line by line: texts that a spreadsheet would run are escaped, numbers are left as they are.

    Args:
        bom: Whether it begins with a byte order mark, as some spreadsheets want for UTF-8.
        cut: Whether there is more than these rows: the last line says so.
    """
    writer: Any = csv.writer(_Echo(), lineterminator="\r\n")
    first = writer.writerow([cell(one) for one in columns])
    yield _BOM + first if bom else first
    for row in rows:
        yield writer.writerow([cell(one) for one in row])
    if cut:
        yield writer.writerow(["# cut: there are more rows; follow the Link header, or raise limit"])


def cell(value: Any) -> Any:
    """Return a value as a cell: ISO 8601, numbers as they are, texts that begin like a formula behind an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if isinstance(value, (int, float)) or type(value).__name__ == "Decimal":
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return encode_plain(value)
    return str(value)


def theme_of(request: HttpRequest) -> str:
    """Return the theme that is asked for, or chosen before; empty for the system's."""
    asked = request.GET.get("theme", "")
    if asked and asked not in (*THEMES, "system"):
        raise Refused(
            400, "Bad parameter", f"theme is light, dark or system, not {asked!r}.", parameter="theme"
        )
    theme = asked or request.COOKIES.get("kck_theme", "")
    return theme if theme in THEMES else ""


def _width(request: HttpRequest) -> int:
    text = request.GET.get("width", "")
    if not text:
        return 960
    if not (text.isascii() and text.isdigit() and 160 <= int(text) <= 4000):
        raise Refused(
            400,
            "Bad parameter",
            f"width is a number of pixels from 160 to 4000, not {text!r}.",
            parameter="width",
        )
    return int(text)


def problem(
    request: HttpRequest, refused: Refused, face: str, frame: Callable[[Page], dict[str, Any]]
) -> HttpResponseBase:
    """Return what is wrong: for people a page (or where to log in), for programs problem details (RFC 9457)."""
    if face == "html":
        if refused.status == 401 and settings.LOGIN_URL:
            return redirect_to_login(request.get_full_path())
        page = Page("problem.html", refused.title, context={"refused": refused})
        context = {"page": page, **frame(page), **page.context}
        text = render_to_string("kck_flow/problem.html", context, request)
        return HttpResponse(text, status=refused.status, content_type=TYPES["html"])
    body = {
        "type": "about:blank",
        "title": refused.title,
        "status": refused.status,
        "detail": refused.detail,
        **refused.more,
    }
    response = HttpResponse(json.dumps(body), status=refused.status, content_type="application/problem+json")
    if refused.status == 401:
        response.headers["WWW-Authenticate"] = 'Session realm="kck_flow"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _cors(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    origin = request.headers.get("Origin", "")
    if origin and conf.CORS_ORIGINS:
        patch_vary_headers(response, ("Origin",))
        if origin in conf.CORS_ORIGINS:
            response.headers["Access-Control-Allow-Origin"] = origin
    return response


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a whole CSV."""
    out = io.StringIO()
    for line in csv_lines(columns, rows):
        out.write(line)
    return out.getvalue()
