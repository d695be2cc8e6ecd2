"""The OpenAPI document: generated from the registry, of what its reader may see, each status told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from .. import key as keys
from ..dashboards import faces, ranges
from ..dashboards.captions import description_of, kind_of
from ..dashboards.pages import Page, address
from ..dashboards.visitors import user_of
from ..decorators import Action
from ..metric import Metric
from ..parameter import (
    BooleanParameter,
    ChoiceParameter,
    DateParameter,
    DateTimeParameter,
    FloatParameter,
    IntegerParameter,
    Parameter,
    UUIDParameter,
)
from ..permission import VIEW, may
from ..primer import Primer
from ..process import Process
from ..registry import registry
from ..timeframe import TimeFrame
from . import links, series
from .writes import MOST_JOBS

VERSION: Final = "0"
_JSON: Final = faces.TYPES["json"]
_TYPES: Final[tuple[tuple[type[Parameter[Any]], dict[str, Any]], ...]] = (
    (IntegerParameter, {"type": "integer"}),
    (FloatParameter, {"type": "number"}),
    (BooleanParameter, {"type": "boolean"}),
    (DateParameter, {"type": "string", "format": "date"}),
    (DateTimeParameter, {"type": "string", "format": "date-time"}),
    (UUIDParameter, {"type": "string", "format": "uuid"}),
)
# What each status means, once for all addresses.
STATUSES: Final[Mapping[int, str]] = {
    304: "What the client has is what it would get: no body.",
    400: "A parameter or the body is unknown or wrong; `parameter` or `member` names it.",
    401: "Nobody is logged in, or the token is not valid.",
    403: "The user may not do this, or the request does not prove where it comes from.",
    404: "There is no such thing, or not even its name may be known.",
    406: "There is no such face.",
    409: "The product has another version by now (`version`), a hook refused, or the name is taken.",
    410: "The link has expired, or was withdrawn.",
    412: "A precondition does not hold: the product has another version (`version`).",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The product is of a kind to which this cannot be done.",
    500: "Something nobody has foreseen; the site's log tells what.",
    503: "Not computed, or it cannot be had now; `Retry-After` says when to ask again.",
}
_READS: Final = (304, 400, 401, 403, 404, 500, 503)
_WRITES: Final = (400, 401, 403, 404, 413, 415, 422, 500, 503)


@csrf_exempt
def show_openapi(request: HttpRequest) -> HttpResponseBase:
    """The OpenAPI document of what the user may see."""

    def build(_face: str) -> Page:
        body = json.dumps(document(user_of(request), request.build_absolute_uri(address("")))).encode()
        return Page("", "openapi", body=body, facts=body.decode())

    return faces.respond(request, "json", build, frame=lambda page: {})


def document(user: Any, root: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of what a user may see.

    Args:
        root: The absolute address under which all of this stands.
    """
    paths = general_paths()
    for primer in registry.unique():
        if not isinstance(primer, Action) and may(user, VIEW, primer.name):
            paths |= _paths_of(primer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Data products",
            "version": VERSION,
            "description": "Generated from what is declared. Unstable until 1.0: what is marked `x-unstable` may "
            "change with any release, and the changelog says so.",
        },
        "servers": [{"url": root.rstrip("/")}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "responses": {f"p{status}": _problem(status) for status in STATUSES},
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{}, {"session": []}, {"token": []}],
    }


def general_paths() -> dict[str, Any]:
    """Return the addresses that there are whatever is declared."""
    paths: dict[str, Any] = {}
    for place, what in (
        ("products", "products"),
        ("metrics", "metrics"),
        ("processes", "processes"),
        ("frames", "time frames"),
    ):
        paths[f"/{place}.json"] = {
            "get": _list(f"list_{place}", f"The {what} that you may see", (*_RANGE, *_PAGES, _Q))
        }
    paths["/overview.json"] = {"get": _list("overview", "Every product that stands alone, as a tile", _RANGE)}
    paths["/dashboards.json"] = {"get": _list("list_dashboards", "The dashboards that you may see", ())}
    paths |= _product_paths()
    paths["/members/{key}.json"] = {"get": _members()}
    paths["/lineage/{key}.json"] = {"get": _lineage()}
    paths |= _link_paths()
    paths["/openapi.json"] = {
        "get": _operation(
            "openapi", "This document", (), {200: _json({"type": "object"})}, (304, 400, 401, 500)
        )
    }
    return paths


# -- products


def _product_paths() -> dict[str, Any]:
    key = [
        _path("key", {"type": "string", "minLength": 1}, "A product's key, percent-escaped as one segment.")
    ]
    version = _query("version", {"type": "integer", "minimum": 0}, "Only over this version; else 409.")
    value = {
        200: _json(
            {"anyOf": [{"$ref": "#/components/schemas/Value"}, {"$ref": "#/components/schemas/Rows"}]},
            etag=True,
        )
    }
    set_ = {
        200: _json({"$ref": "#/components/schemas/Value"}, etag=True),
        201: _json({"$ref": "#/components/schemas/Value"}, etag=True),
    }
    deed = {200: _json({"type": "object"})}
    job = {202: _json({"$ref": "#/components/schemas/Job"})}
    return {
        "/products/{key}.json": {
            "get": _operation("get_product", _GET, (*key, *_SERIES, *_RANGE, *_FORM), value, _READS),
            "put": _operation(
                "set_product",
                "Set a value; needs kck_flow.write_dataproduct",
                (*key, version, _IF_MATCH),
                set_,
                (*_WRITES, 409, 412),
                _body("Put"),
            ),
            "delete": _operation(
                "unset_product",
                "Remove a value; needs kck_flow.write_dataproduct",
                (*key, version, _IF_MATCH),
                {204: {"description": "It is gone."}},
                (400, 401, 403, 404, 409, 412, 422, 500, 503),
            ),
        },
        "/products/{key}.csv": {
            "get": _operation(
                "get_product_csv", _GET, (*key, *_SERIES, *_RANGE, *_FORM), {200: _text("text/csv")}, _READS
            )
        },
        "/products/{key}.svg": {
            "get": _operation(
                "draw_product",
                "A chart",
                (*key, *_RANGE, *_FORM),
                {200: _text("image/svg+xml")},
                (*_READS, 406),
            )
        },
        "/products/{key}/refresh": {
            "post": _operation(
                "refresh_product",
                "Queue a refresh; needs kck_flow.refresh_dataproduct",
                key,
                job,
                _WRITES,
                _body("Refresh", required=False),
            )
        },
        "/products/refresh": {
            "post": _operation(
                "refresh_products",
                "Queue several refreshes, a job each",
                (),
                {202: _json({"$ref": "#/components/schemas/Jobs"})},
                (400, 401, 403, 404, 413, 415, 500, 503),
                _body("RefreshMany"),
            )
        },
        "/products/{key}/invalidate": {
            "post": _operation(
                "invalidate_product",
                "Make a value unservable; needs kck_flow.invalidate_dataproduct",
                key,
                deed,
                _WRITES,
                _body("Nothing", required=False),
            )
        },
        "/products/{key}/share": {
            "post": _operation(
                "share_product",
                "Make a signed link; needs kck_flow.share_dataproduct",
                key,
                {201: _json({"$ref": "#/components/schemas/Link"})},
                (*_WRITES, 409),
                _body("Share"),
            )
        },
    }


def _paths_of(primer: Primer) -> dict[str, Any]:
    """Return the addresses of one declared family."""
    usage = "/".join([keys.escape(primer.name), *(f"{{{one.name}}}" for one in primer.parameters)])
    given = [
        _path(
            one.name,
            _schema_of(one),
            f"{one.expected}" if one.has_default is False else f"{one.expected}; optional in a key",
        )
        for one in primer.parameters
    ]
    told = " ".join(filter(None, (primer.text, description_of(primer)))).strip()
    name = "".join(letter if letter.isalnum() else "_" for letter in primer.name)
    if isinstance(primer, Process):
        get = _operation(
            f"process_{name}", told, (*given, *_RANGE, *_FORM), {200: _json(_ROWS, etag=True)}, _READS
        )
        return {f"/processes/{usage}.json": {"get": get | {"tags": ["process"]}}}
    place = (
        "metrics" if isinstance(primer, Metric) else "frames" if isinstance(primer, TimeFrame) else "products"
    )
    schema = {"anyOf": [{"$ref": "#/components/schemas/Value"}, _ROWS]} if place == "products" else _ROWS
    parameters = (*given, *_RANGE, *_FORM, *(_SERIES if place == "products" else ()))
    get = _operation(f"{place}_{name}", told, parameters, {200: _json(schema, etag=True)}, _READS)
    return {f"/{place}/{usage}.json": {"get": get | {"tags": [kind_of(primer)]}}}


def _schema_of(parameter: Parameter[Any]) -> dict[str, Any]:
    if isinstance(parameter, ChoiceParameter):
        return {"type": "string", "enum": [parameter.to_text(one) for one in parameter.choices]}
    return next(
        (dict(schema) for kind, schema in _TYPES if isinstance(parameter, kind)),
        {"type": "string", "minLength": 1},
    )


# -- links


def _members() -> dict[str, Any]:
    key = _path("key", {"type": "string", "minLength": 1}, "Of a stock, percent-escaped as one segment.")
    exactly = _query("count", {"enum": ["exact"]}, "Count the rows now, however many.")
    return _operation(
        "list_members",
        "The rows that a stock counts; facet.NAME=VALUE those of a facet value",
        (key, exactly, *_PAGES, *_FORM),
        {200: _json({"$ref": "#/components/schemas/Rows"}, etag=True)},
        _READS,
    )


def _lineage() -> dict[str, Any]:
    key = _path("key", {"type": "string", "minLength": 1}, "Of any product, percent-escaped as one segment.")
    return _operation(
        "list_lineage",
        "Who was made from whom around a product, a row for each pair",
        (key, *_FORM),
        {200: _json({"$ref": "#/components/schemas/Rows"}, etag=True)},
        _READS,
    )


def _link_paths() -> dict[str, Any]:
    token = _path("token", {"type": "string", "minLength": 1}, "What was signed.")
    name = _path("name", {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$"}, "Of the link.")
    shared = (304, 400, 403, 404, 410, 500, 503)
    return {
        "/links.json": {
            "get": _operation(
                "list_links", "The links to what you may share", (), {200: _json(_ROWS)}, (400, 401, 500, 503)
            )
        },
        "/links/{name}": {
            "delete": _operation(
                "revoke_link",
                "Withdraw a link",
                (name,),
                {204: {"description": "It holds no more."}},
                (400, 401, 403, 404, 500, 503),
            )
        },
        "/shared/{token}.json": {
            "get": _operation(
                "get_shared", "What a link shows", (token, *_FORM[1:]), {200: _json(_ROWS, etag=True)}, shared
            )
        },
    }


# -- pieces


def _query(name: str, schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": dict(schema), "description": text}


def _path(name: str, schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": dict(schema), "description": text}


def _operation(
    name: str,
    summary: str,
    parameters: Iterable[Mapping[str, Any]],
    answers: Mapping[int, Any],
    problems: Sequence[int],
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": name,
        "summary": summary.partition("\n")[0][:120],
        "parameters": [dict(one) for one in parameters],
        "responses": {str(status): one for status, one in answers.items()}
        | {str(status): {"$ref": f"#/components/responses/p{status}"} for status in problems},
        "x-unstable": True,
    }
    if body is not None:
        made["requestBody"] = dict(body)
    return made


def _list(name: str, summary: str, parameters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    answers = {200: _json({"$ref": "#/components/schemas/Rows"}, etag=True)}
    return _operation(name, summary, (*parameters, *_FORM), answers, (304, 400, 401, 403, 500, 503))


def _json(schema: Mapping[str, Any], *, etag: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {"description": "As asked.", "content": {_JSON: {"schema": dict(schema)}}}
    if etag:
        made["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "Of this face."}}
    return made


def _text(kind: str) -> dict[str, Any]:
    return {"description": "As asked.", "content": {kind: {"schema": {"type": "string"}}}}


def _problem(status: int) -> dict[str, Any]:
    made: dict[str, Any] = {"description": STATUSES[status]}
    if status != 304:
        made["content"] = {faces.PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return made


def _body(name: str, *, required: bool = True) -> dict[str, Any]:
    return {"required": required, "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


_GET: Final = "The value, or with a parameter of a series what was over time"
_FLAG: Final = {"type": "string", "enum": ["0", "1"]}
_ROWS: Final = {"$ref": "#/components/schemas/Rows"}
_DAY: Final = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
_RANGE: Final = (
    _query(
        "range",
        {
            "anyOf": [
                {"type": "string", "enum": [*ranges.NAMED]},
                {"type": "string", "pattern": "^[1-9][0-9]{0,2}[hdwm]$"},
            ]
        },
        "A named range, or a number of hours, days, weeks or months.",
    ),
    _query("from", _DAY, "A day or an instant, the first."),
    _query("to", _DAY, "A day, the last; or an instant, the first after."),
    _query(
        "by",
        {"type": "string", "examples": [*ranges.STEPS]},
        "The step; of time frames and topics, one of their sizes.",
    ),
    _query("compare", {"type": "string", "enum": [*ranges.COMPARE]}, "With what it is compared."),
    _query("tz", {"type": "string", "examples": ["UTC", "Europe/Paris"]}, "The zone in which it is told."),
    _query("complete", _FLAG, "Only steps that are over."),
)
_PAGES: Final = (
    _query("limit", {"type": "integer", "minimum": 1, "maximum": series.MOST}, "How many rows."),
    _query("next", {"type": "string"}, "Where the page before ended, as it said."),
)
_SERIES: Final = (
    *_PAGES,
    _query("order", {"type": "string", "enum": [*series.ORDERS]}, "The oldest or the newest first."),
    _query(
        "facet",
        {"type": "string", "pattern": "^[^=]+=.+$", "examples": ["plan=pro"]},
        "One facet value of a stock or a flow; facet.plan=pro is the same.",
    ),
)
_Q: Final = _query("q", {"type": "string"}, "What key or label have in them.")
_FORM: Final = (
    _query("theme", {"type": "string", "enum": [*faces.THEMES, "system"]}, "Of a picture."),
    _query("width", {"type": "integer", "minimum": 160, "maximum": 4000}, "Of a picture, in pixels."),
    _query("shape", {"type": "string", "enum": ["objects", "arrays"]}, "Of the rows in JSON."),
    _query(
        "extra",
        {"type": "string", "enum": ["columns", "layout", "columns,layout"]},
        "What JSON says besides.",
    ),
    _query("bom", _FLAG, "A CSV with a byte order mark."),
    _query("dl", _FLAG, "As a file to keep."),
)
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "examples": ['"7"']},
    "description": "Only over this version, or the ETag that was read; else 412.",
}
_DURATION: Final = {"type": ["number", "null"], "minimum": 0}
_TEXT: Final = {"type": "string"}
_JOB: Final = {
    "type": "object",
    "required": ["key", "job"],
    "properties": {
        "key": _TEXT,
        "job": {"type": "string", "enum": ["queued", "queued before", "refused"]},
        "href": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
    },
}
_SCHEMAS: Final[dict[str, Any]] = {
    "Problem": {
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "parameter": _TEXT,
            "member": _TEXT, "version": {"type": "integer"}, "key": _TEXT, "state": _TEXT, "permission": _TEXT,
        },
    },
    "Value": {
        "type": "object",
        "required": ["value", "meta"],
        "properties": {"value": {}, "meta": {"$ref": "#/components/schemas/ValueMeta"}, "layout": {}},
    },
    "ValueMeta": {
        "type": "object",
        "required": ["key", "kind", "state", "version", "computed_at", "fresh_until", "unstable"],
        "properties": {
            "key": _TEXT, "label": _TEXT, "kind": _TEXT, "unit": {"type": ["string", "null"]},
            "state": {"type": "string", "enum": ["fresh", "stale", "computing", "failed", "empty"]},
            "version": {"type": "integer"}, "computed_at": {"type": ["string", "null"], "format": "date-time"},
            "fresh_until": {"type": ["string", "null"], "format": "date-time"}, "complete": {"type": "boolean"},
            "unstable": {"type": "boolean", "description": "Whether this shape may change with a release."},
        },
    },
    "Rows": {
        "type": "object",
        "required": ["rows", "next", "meta"],
        "properties": {
            "rows": {"type": "array", "items": {"type": ["object", "array"]}},
            "next": {"type": ["string", "null"]},
            "meta": {"type": "object"},
            "columns": {"type": "array", "items": _TEXT},
            "layout": {"type": ["object", "null"]},
        },
    },
    "Put": {
        "type": "object", "required": ["value"], "additionalProperties": False,
        "properties": {"value": {}, "soft_expire": _DURATION, "hard_expire": _DURATION, "meta": {}},
    },
    "Refresh": {
        "type": "object", "additionalProperties": False,
        "properties": {"priority": {"type": ["integer", "null"], "minimum": 0, "maximum": 9}},
    },
    "RefreshMany": {
        "type": "object", "required": ["keys"], "additionalProperties": False,
        "properties": {
            "keys": {"type": "array", "items": _TEXT, "maxItems": MOST_JOBS},
            "priority": {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
        },
    },
    "Nothing": {"type": "object", "additionalProperties": False},
    "Job": _JOB,
    "Jobs": {"type": "object", "required": ["jobs"], "properties": {"jobs": {"type": "array", "items": _JOB}}},
    "Share": {
        "type": "object", "required": ["name"], "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": "^[-a-zA-Z0-9_]{1,80}$"},
            "show": {"type": "string", "enum": [*links.SHOWS]},
            "theme": {"type": ["string", "null"], "enum": [*faces.THEMES, None]},
            "expires_in": {"type": "number", "minimum": 60, "maximum": links.MOST_DAYS * 86_400},
            "contact": {"type": "string", "maxLength": 200},
            "frame_ancestors": {"type": "array", "items": _TEXT},
            **{one: {"type": ["string", "null"]} for one in ranges.PARAMETERS if one != "complete"},
            "complete": {"type": ["boolean", "string", "null"]},
        },
    },
    "Link": {
        "type": "object", "required": ["name", "href", "expires_at"],
        "properties": dict.fromkeys(
            ("name", "key", "show", "expires_at", "href", "svg", "json", "csv", "revoke"), _TEXT
        ),
    },
}  # fmt: skip
