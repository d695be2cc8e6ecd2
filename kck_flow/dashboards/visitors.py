"""Who asks: the user of the session, or of a token, who needs no session and no CSRF."""

from __future__ import annotations

import copy
from typing import Any, Final

from django.http import HttpRequest
from django.utils.module_loading import import_string

from ..conf import conf

_BEARER: Final = "bearer "
_KEPT: Final = "_kck_visitor"


class Nobody:
    """Whose token is nobody's; as Django's own, without its app."""

    pk = None
    is_authenticated = is_active = is_staff = is_superuser = False

    def __str__(self) -> str:
        return "nobody"


def has_token(request: HttpRequest) -> bool:
    """Whether a request carries a token that the project understands: then its session does not count."""
    return bool(conf.API_AUTH) and request.headers.get("Authorization", "").lower().startswith(_BEARER)


def user_of(request: HttpRequest) -> Any:
    """Return who asks: of a token, the user that ``KCK_FLOW["API_AUTH"]`` says, nobody where it is not valid; else the
    user of the session; None in a project without sessions.
    """
    if not has_token(request):
        return getattr(request, "user", None)
    if not hasattr(request, _KEPT):
        found = import_string(conf.API_AUTH)(request)
        setattr(request, _KEPT, found if found is not None else Nobody())
    return getattr(request, _KEPT)


def is_refused(request: HttpRequest) -> bool:
    """Whether a request carries a token that is nobody's."""
    return has_token(request) and not user_of(request).is_authenticated


def anew(request: HttpRequest) -> Any:
    """Return who asks, as of now: the session and its user read again, or the token asked about again."""
    if has_token(request):
        found = import_string(conf.API_AUTH)(request)
        return found if found is not None else Nobody()
    user = getattr(request, "user", None)
    if user is None:
        return None
    session = getattr(request, "session", None)
    if session is not None and hasattr(request, "_cached_user"):
        from django.contrib.auth import get_user  # a site may know its visitors otherwise, without this app

        again = copy.copy(request)
        again.session = type(session)(session.session_key)
        return get_user(again)
    if getattr(user, "pk", None) is None:
        return user
    own = type(user)._default_manager.filter(pk=user.pk).first()
    return own if own is not None else Nobody()
