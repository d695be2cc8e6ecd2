"""How a page is kept current while it is open, as its script is told; and to the staff, that no worker lives."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from django.db import Error as DatabaseErrors
from django.http import HttpRequest
from django.utils.translation import gettext as _

from .. import clock
from ..conf import conf
from ..store import private, workers
from ..store.session import caller
from . import stream
from .pages import Page

KNOWN_SECONDS: Final = 5.0

_lives: tuple[float, bool] = (float("-inf"), True)


def told(request: HttpRequest, page: Page, etag: str) -> dict[str, Any] | None:
    """Return what the script of a page is told: its version, how often it asks (in milliseconds), whether it may ask
    for the stream, the server's clock (in seconds), and the words of ages; None where pages are not kept current.
    """
    if not conf.LIVE:
        return None
    return {
        "etag": etag,
        "every": int(conf.LIVE_SECONDS * 1000),
        "stream": bool(page.keys) and stream.is_there(request),
        "now": f"{clock.now().timestamp():.0f}",
        "ages": _words(),
    }


def _words() -> str:
    """Return what the script says ages with, as JSON: the words of ``wording``."""
    return json.dumps(
        {
            "recent": _("just now"),
            "now": _("now"),
            "ago": _("%(span)s ago") % {"span": "%s"},
            "ahead": _("in %(span)s") % {"span": "%s"},
            "s": _("s"),
            "min": _("min"),
            "h": _("h"),
            "d": _("d"),
        }
    )


def idle(user: Any) -> str:
    """Return what the staff is told where no worker lives; empty for all others."""
    if not getattr(user, "is_staff", False) or not getattr(user, "is_active", False) or _worker_lives():
        return ""
    if conf.REFRESH_IN_PROCESS is False:
        return _("Nothing is refreshed; start a worker:")
    return _("Refreshes on read; start a worker for live updates:")


def _worker_lives() -> bool:
    global _lives
    now = time.monotonic()
    in_test = private.in_test_case()
    if not in_test and now - _lives[0] < KNOWN_SECONDS:
        return _lives[1]
    try:
        found = any(workers.living(caller(alias), conf.WORKER_SEEN_SECONDS) for alias in conf.DATABASES)
    except DatabaseErrors:
        return True  # not known: nothing is said
    if not in_test:
        _lives = (now, found)
    return found
