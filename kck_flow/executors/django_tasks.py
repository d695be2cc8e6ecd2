"""Refreshes carried out by whatever runs the tasks of Django's Tasks framework.

Built in from Django 6 (``django.tasks``), a package before (``django-tasks``). Nothing is asked of the backend but that
it takes what is enqueued: no result, no priority, no time to run after, so that each will do.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from ..refresh.hints import DISPATCH_SECONDS, IN_FLIGHT, Bounded

try:
    from django.tasks import task  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    from django_tasks import task  # type: ignore[import-not-found,no-redef,unused-ignore]


class DjangoTasks(Bounded):
    """Enqueues hints as tasks of Django's.

    Args:
        backend: The name in the setting ``TASKS`` of the backend they go to.
        queue: The queue they go to; the backend's own default where not given.
        in_flight, lease, alias: As of ``kck_flow.refresh.hints.Bounded``.
    """

    name = "django_tasks"

    def __init__(
        self,
        *,
        backend: str = "default",
        queue: str | None = None,
        in_flight: int = IN_FLIGHT,
        lease: float = DISPATCH_SECONDS,
        alias: str | None = None,
    ) -> None:
        super().__init__(in_flight=in_flight, lease=lease, alias=alias)
        given: dict[str, Any] = {"backend": backend, **({"queue_name": queue} if queue else {})}
        self._task = refresh.using(**given)

    def submit(self, slot: int, token: int, lane: int) -> None:
        self._task.enqueue(slot, token, *self.elsewhere())


@task
def refresh(slot: int, token: int, alias: str | None = None) -> str | None:
    """Follow a hint; returns the outcome, or None where there was nothing to do any more."""
    from ..refresh.executor import entry  # which has to wait for Django's apps

    return entry(slot, token, alias=alias, worker=f"django_tasks {socket.gethostname()} {os.getpid()}")
