"""Who asks: the user of the session, or of a token, who needs no session and no CSRF."""

from __future__ import annotations

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
