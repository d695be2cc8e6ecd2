"""Refreshes carried out by Procrastinate's workers: a queue in PostgreSQL, which needs psycopg 3.

At most one hint waits for each refresh: one that is offered again while the last one waits is not queued beside it. Of
Procrastinate's locks a job takes none: that of a member that was killed would stay, and keep every later hint waiting.
That one refresh runs once at a time is the lease's to see to.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from procrastinate import exceptions
from procrastinate.contrib.django import app

from ..refresh.hints import DISPATCH_SECONDS, IN_FLIGHT, Bounded

REFRESH: Final = "kck_flow.refresh"


class Procrastinate(Bounded):
    """Defers hints as jobs of Procrastinate's.

    Args:
        queue: The queue they go to.
        in_flight, lease, alias: As of ``kck_flow.refresh.hints.Bounded``.

    Raises:
        ImproperlyConfigured: Procrastinate's app is not installed in the project.
    """

    name = "procrastinate"

    def __init__(
        self,
        *,
        queue: str = "default",
        in_flight: int = IN_FLIGHT,
        lease: float = DISPATCH_SECONDS,
        alias: str | None = None,
    ) -> None:
        if not apps.is_installed("procrastinate.contrib.django"):
            raise ImproperlyConfigured(
                "KCK_FLOW['EXECUTOR'] is 'procrastinate', whose app is not installed: add "
                "'procrastinate.contrib.django' to INSTALLED_APPS, and migrate."
            )
        super().__init__(in_flight=in_flight, lease=lease, alias=alias)
        self.queue = queue

    def submit(self, slot: int, token: int, lane: int) -> None:
        deferred = refresh.configure(
            queue=self.queue,
            queueing_lock=":".join(["kck", str(slot), *self.elsewhere()]),
            priority=-lane,  # Procrastinate takes the highest first
        )
        try:
            deferred.defer(slot=slot, token=token, alias=self.alias)
        except exceptions.AlreadyEnqueued:
            return  # an older hint waits still: it will find its token used up, and this one is offered again


@app.task(name=REFRESH)
def refresh(slot: int, token: int, alias: str | None = None) -> str | None:
    """Follow a hint; returns the outcome, or None where there was nothing to do any more."""
    from ..refresh.executor import entry  # which has to wait for Django's apps

    return entry(slot, token, alias=alias, worker=f"procrastinate {socket.gethostname()} {os.getpid()}")
