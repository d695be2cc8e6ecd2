"""Whether all is well, for load balancers and whoever is woken at night: 200, or 503 and why.

``path("health", kck_flow.contrib.health.health)``, or ``kck_flow.contrib.health.view(overdue=timedelta(hours=1))``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from django.db import Error as DatabaseErrors
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from ..conf import conf
from ..dashboards import faces, visitors
from ..permission import VIEW, allows
from ..store import refreshes, workers
from ..store.session import Session, caller

OVERDUE: Final = timedelta(minutes=10)


def view(*, overdue: timedelta = OVERDUE) -> Callable[[HttpRequest], HttpResponseBase]:
    """Return a view that answers 200 where all is well, 503 where not.

    What is asked of each database: that it answers; that a worker was seen of late, where anything is due; that nothing
    has been due for longer than ``overdue``. Everybody is told ``{"status": "ok"}`` or ``{"status": "failing"}``; whom
    the project's ``PERMISSION`` lets see is told why, and how much there is of what.

    Args:
        overdue: How long a refresh may have been due.

    Raises:
        ValueError: ``overdue`` is not above zero.
    """
    if overdue <= timedelta(0):
        raise ValueError(f"overdue is a duration above zero, not {overdue!r}.")

    def health(request: HttpRequest) -> HttpResponseBase:
        def answer() -> HttpResponseBase:
            faces.refuse_method(request, ("GET", "HEAD", "OPTIONS"))
            databases = {str(alias): _looked_at(str(alias), overdue) for alias in conf.DATABASES}
            wrong = any(one["problems"] for one in databases.values())
            told: dict[str, Any] = {"status": "failing" if wrong else "ok"}
            if _may_know(request):
                told["databases"] = databases
            response = JsonResponse(told, status=503 if wrong else 200)
            response.headers["Cache-Control"] = "no-store"
            return response

        return faces.guarded(request, answer, faces.problem_details, ("GET", "HEAD", "OPTIONS"))

    return health


health = view()


def _may_know(request: HttpRequest) -> bool:
    try:
        return bool(allows(None, visitors.user_of(request), VIEW, "health"))
    except DatabaseErrors:  # sessions are in a database that does not answer
        return False


def _looked_at(alias: str, overdue: timedelta) -> dict[str, Any]:
    try:
        session = caller(alias)
        found = _counts(session)
    except DatabaseErrors as error:
        return {"problems": [f"the database does not answer: {str(error).strip().splitlines()[0]}"]}
    return {"problems": list(_problems(found, overdue)), **found}


def _counts(session: Session) -> dict[str, Any]:
    lanes = refreshes.counts(session)
    return {
        "workers": workers.living(session, conf.WORKER_SEEN_SECONDS),
        "due": sum(due for _, _, due, *_ in lanes),
        "running": sum(lane[3] for lane in lanes),
        "parked": sum(lane[4] for lane in lanes),
        "failing": sum(lane[5] for lane in lanes),
        "overdue_seconds": round(max((lane[6] or 0.0 for lane in lanes), default=0.0), 3),
    }


def _problems(found: dict[str, Any], overdue: timedelta) -> Iterator[str]:
    if found["due"] and not found["workers"]:
        due = "a refresh is" if found["due"] == 1 else f"{found['due']:,} refreshes are"
        yield (f"{due} due and no worker was seen for {conf.WORKER_SEEN_SECONDS:g} s: manage.py kck worker")
    if found["overdue_seconds"] > overdue.total_seconds():
        yield (
            f"the oldest refresh has been due for {found['overdue_seconds']:.0f} s, and may for "
            f"{overdue.total_seconds():g}: manage.py kck refreshes"
        )
