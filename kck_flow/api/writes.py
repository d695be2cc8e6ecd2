"""What programs do to a product: set, unset, refresh, make unservable. Each needs its permission."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from .. import spread
from ..cache.facade import Cache
from ..codec import encode_plain
from ..dashboards import faces
from ..dashboards.captions import caption
from ..dashboards.faces import Refused
from ..dashboards.pages import address, href
from ..errors import HookFailed, UnknownPrimer, UnstorableValue, VersionMismatch
from ..key import Key
from ..primer import LONGEST
from ..registry import registry
from ..store import products
from ..store.session import caller
from . import links, values
from .asking import body_of, is_form, permitted, refuse_forged

METHODS: Final = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST")
_VERSION: Final = re.compile(r'"(\d{1,18})(?:-[0-9a-f-]*)?"')
# Refreshes that one request may queue.
MOST_JOBS: Final = 1000
_DURATIONS: Final = ("soft_expire", "hard_expire")


def answer(request: HttpRequest, text: str, face: str | None) -> HttpResponseBase:
    """Answer PUT, DELETE and POST at a product's address.

    ``PUT key.json`` sets, ``DELETE key.json`` unsets; ``POST key/refresh``, ``key/invalidate`` and ``key/share`` do
    what they say.
    """

    def act() -> HttpResponseBase:
        known, does = _deed(request, text, face)
        faces.refuse_method(request, known)
        faces.refuse_unknown(request, ("version",) if request.method in ("PUT", "DELETE") else ())
        refuse_forged(request)
        done = does()
        if is_form(request) and "text/html" in request.headers.get("Accept", ""):
            return HttpResponseRedirect(_page_of(text.rpartition("/")[0]), status=303)
        return done

    response = faces.guarded(request, act, faces.problem_details, METHODS)
    patch_vary_headers(response, ("Cookie", "Authorization"))
    return response


def _page_of(text: str) -> str:
    """Return where somebody who has pressed a button sees what came of it."""
    return href(caption(registry.key(text))) if text else address("products")


def _deed(
    request: HttpRequest, text: str, face: str | None
) -> tuple[tuple[str, ...], Callable[[], HttpResponse]]:
    """Return which methods an address has, and what the one asked for does."""
    stem, _slash, last = text.rpartition("/")
    if request.method == "POST":
        deeds = {"refresh": _refresh, "invalidate": _invalidate, "share": links.share}
        if stem and face is None and last in deeds:
            return METHODS, lambda: deeds[last](request, permitted(request, stem, last))
        if text == "refresh" and face is None:
            return METHODS, lambda: _refresh_many(request)
        return ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"), HttpResponse
    if face not in (None, "json"):
        return ("GET", "HEAD", "OPTIONS"), HttpResponse
    if request.method == "PUT":
        return METHODS, lambda: _set(request, permitted(request, text, "write"))
    if request.method == "DELETE":
        return METHODS, lambda: _unset(request, permitted(request, text, "write"))
    return ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"), HttpResponse


# -- deeds


def _seconds(body: dict[str, Any], name: str) -> timedelta | None:
    given = body[name]
    if given is None:
        return None
    if (
        isinstance(given, bool)
        or not isinstance(given, (int, float))
        or not 0 <= given <= LONGEST.total_seconds()
    ):
        raise Refused(
            400, "Bad body", f"{name} is a number of seconds, or null for never, not {given!r}.", member=name
        )
    return timedelta(seconds=given)


def _set(request: HttpRequest, key: Key) -> HttpResponse:
    body = body_of(request, ("value", *_DURATIONS, "meta"), needed=("value",))
    more: dict[str, Any] = {name: _seconds(body, name) for name in _DURATIONS if name in body}
    expected, status = _expected(request)
    try:
        entry = Cache.get_instance().set(str(key), body["value"], check_version=expected, **more)
    except VersionMismatch as error:
        raise _mismatch(error.version, status, str(error)) from None
    except UnstorableValue as error:
        raise Refused(422, "Cannot be set", str(error)) from None
    except HookFailed as error:
        raise Refused(409, "Refused by a hook", str(error.__cause__ or error)) from None
    text = encode_plain(entry.value)
    response = HttpResponse(
        values.body_of(text, values.meta_of(caption(key), entry)),
        content_type=faces.TYPES["json"],
        status=201 if entry.version == 1 else 200,
    )
    response.headers["ETag"] = f'"{entry.version}"'
    response.headers["Location"] = request.build_absolute_uri(address("products", key, "json"))
    response.headers["Cache-Control"] = "no-store"
    return response


def _expected(request: HttpRequest) -> tuple[int | None, int]:
    """Return (the version that the client has seen, the status where it is another one by now).

    As a header it is a precondition, and 412 says that it does not hold; as ``version=`` it is a part of what is asked,
    and 409 says that something else happened meanwhile.
    """
    match, none = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    if match is not None and match.strip() != "*":
        told = _VERSION.fullmatch(match.strip())
        if told is None:
            raise Refused(
                400, "Bad precondition", f'If-Match is one ETag, or a version such as "7", not {match!r}.'
            )
        return int(told[1]), 412
    if none is not None and none.strip() == "*":
        return 0, 412
    version = faces.number(request, "version", None, 0, 999_999_999)
    return version, 409


def _mismatch(version: int, status: int, detail: str) -> Refused:
    title = "Precondition failed" if status == 412 else "Version conflict"
    return Refused(status, title, detail, version=version)


def _unset(request: HttpRequest, key: Key) -> HttpResponse:
    cache, session = Cache.get_instance(), caller(spread.alias_of(registry.primers.get(key.key_base)))
    expected, status = _expected(request)
    try:
        with session.transaction():
            if expected is not None:
                held = products.lock(session, key.digest)
                version = held.version if held is not None else 0
                if version != expected:
                    raise _mismatch(
                        version, status, f"{str(key)!r} has version {version}, not {expected}: read it again."
                    )
            cache.unset(str(key))
    except UnstorableValue as error:
        raise Refused(422, "Cannot be unset", str(error)) from None
    except HookFailed as error:
        raise Refused(409, "Refused by a hook", str(error.__cause__ or error)) from None
    response = HttpResponse(status=204)
    del response.headers["Content-Type"]
    return response


def _refresh(request: HttpRequest, key: Key) -> HttpResponse:
    """Queue a refresh; 202 with the job, and where its outcome will be seen."""
    body = body_of(request, ("priority",))
    job = _queued(request, key, body.get("priority"))
    response = _told(job, 202)
    response.headers["Location"] = job["href"]
    return response


def _refresh_many(request: HttpRequest) -> HttpResponse:
    """Queue several refreshes; 202 with a job for each product, whatever becomes of the others."""
    body = body_of(request, ("keys", "priority"), needed=("keys",))
    listed = body["keys"]
    if (
        not isinstance(listed, list)
        or not all(isinstance(one, str) for one in listed)
        or len(listed) > MOST_JOBS
    ):
        raise Refused(400, "Bad body", f"keys is a list of at most {MOST_JOBS} keys.", member="keys")
    jobs = []
    for text in dict.fromkeys(listed):
        try:
            jobs.append(_queued(request, permitted(request, text, "refresh"), body.get("priority")))
        except Refused as refused:
            jobs.append(
                {"key": text, "job": "refused", "status": refused.status, "detail": str(refused.detail)}
            )
    return _told({"jobs": jobs}, 202)


def _queued(request: HttpRequest, key: Key, priority: Any) -> dict[str, Any]:
    if registry.primers.get(key.key_base) is None:
        raise Refused(422, "Cannot be computed", f"{str(key)!r} was set by hand: no primer computes it.")
    try:
        queued = Cache.get_instance().request_refresh(str(key), priority)
    except (UnstorableValue, UnknownPrimer) as error:
        raise Refused(422, "Cannot be computed", str(error)) from None
    except ValueError as error:
        raise Refused(400, "Bad body", str(error), member="priority") from None
    href = request.build_absolute_uri(address("products", key, "json"))
    return {"key": str(key), "job": "queued" if queued else "queued before", "href": href}


def _invalidate(request: HttpRequest, key: Key) -> HttpResponse:
    body_of(request, ())
    try:
        hit = Cache.get_instance().invalidate(str(key))
    except UnstorableValue as error:
        raise Refused(422, "Cannot be made unservable", str(error)) from None
    return _told({"key": str(key), "invalidated": hit})


def _told(told: dict[str, Any], status: int = 200) -> HttpResponse:
    response = HttpResponse(encode_plain(told), content_type=faces.TYPES["json"], status=status)
    response.headers["Cache-Control"] = "no-store"
    return response
