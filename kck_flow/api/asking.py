"""What a request that changes something has to show: a permission, where it comes from, a body."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.translation import gettext as _

from .. import key as keys
from ..dashboards import visitors
from ..dashboards.faces import Refused
from ..dashboards.views import key_of, refusal
from ..errors import InvalidKey
from ..key import Key
from ..permission import may
from ..registry import registry


def permitted(request: HttpRequest, text: str, action: str) -> Key:
    """Return the key that an address names, where the user may do this to it.

    Raises:
        Refused: there is no such product, or the user may not.
    """
    user = visitors.user_of(request)
    base = registry.key(text) if action == "write" and _is_new(text) else None
    key = base if base is not None else key_of(text, user)
    if not may(user, action, key):
        what = {
            "write": _("set %(what)s"), "refresh": _("have %(what)s computed"), "share": _("share %(what)s"),
            "invalidate": _("make %(what)s unservable"),
        }[action] % {"what": repr(str(key))}  # fmt: skip
        if user is None or not user.is_authenticated:
            raise refusal(user, repr(str(key)))
        raise Refused(
            403,
            _("Not permitted"),
            _("You may not %(deed)s.") % {"deed": what},
            permission=f"kck_flow.{action}_dataproduct",
        )
    return key


def _is_new(text: str) -> bool:
    """Whether a key has no primer: the first to set it need not find anything there."""
    try:
        return keys.base_of(text) not in registry.primers and bool(registry.key(text))
    except InvalidKey:
        return False


def refuse_forged(request: HttpRequest) -> None:
    """Raise Refused where a request that comes with a session does not prove that a page of this site sent it.

    A token proves enough: no browser sends one by itself.
    """
    if visitors.has_token(request):
        return
    guard = CsrfViewMiddleware(lambda _request: HttpResponse())
    guard.process_request(request)
    if guard.process_view(request, _guarded, (), {}) is not None:
        raise Refused(
            403,
            "CSRF check failed",
            "A request with a session needs the header X-CSRFToken. Programs use a token: Authorization: Bearer …",
        )


def _guarded(
    request: HttpRequest,
) -> HttpResponse:  # a view that is not exempt, as the check wants to see one
    return HttpResponse()


# -- bodies


def body_of(
    request: HttpRequest, allowed: tuple[str, ...], *, needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the JSON object that a request carries; an empty one where it carries none.

    Raises:
        Refused: it is none (400), too large (413), of another type (415), or has members that nobody knows.
    """
    if is_form(request) and not needed:
        return {}  # a button of a page: all that it has to say is in the address
    try:
        raw = request.body
    except RequestDataTooBig:
        raise Refused(
            413, "Too large", "The body is larger than this site takes: DATA_UPLOAD_MAX_MEMORY_SIZE."
        ) from None
    if not raw and not needed:
        return {}
    kind = request.content_type or ""
    if raw and kind != "application/json" and not kind.endswith("+json"):
        raise Refused(415, "Not JSON", f"The body is to be application/json, not {kind or 'without a type'}.")
    try:
        found = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "Not JSON", f"The body is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise Refused(400, "Bad body", "The body is to be a JSON object.")
    for name in found:
        if name not in allowed:
            raise Refused(
                400,
                "Bad body",
                f"The body has no member {name!r}. It has: {', '.join(allowed)}.",
                member=name,
            )
    for name in needed:
        if name not in found:
            raise Refused(400, "Bad body", f"The body lacks the member {name!r}.", member=name)
    return found


def is_form(request: HttpRequest) -> bool:
    """Whether a request comes from a form of a page."""
    return request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
