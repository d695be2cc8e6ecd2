"""Refreshes carried out by Celery's workers.

The task acknowledges when it begins, as Celery's do: a worker that dies takes its hint along, and the lease of the row
offers the work again. Whether the broker keeps its messages does not matter either.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Final

from celery import current_app, shared_task
from django.utils.module_loading import import_string

from ..refresh.hints import DISPATCH_SECONDS, IN_FLIGHT, Bounded

REFRESH: Final = "kck_flow.refresh"
TICK: Final = "kck_flow.tick"


class Celery(Bounded):
    """Sends hints as tasks of Celery's.

    Args:
        app: The path of the Celery application, such as ``shop.celery.app``; where not given, the one that is current
            where the executor is made: that of a project whose ``__init__.py`` imports it, as Celery's guide has it.
        queue: The queue they go to; Celery's own default where not given.
        priorities: Whether the broker knows priorities (0 to 9, the lowest first, as with Redis): what somebody waits
            for is then taken before what is due. RabbitMQ takes the highest first: leave it out there.
        in_flight, lease, alias: As of ``kck_flow.refresh.hints.Bounded``.
    """

    name = "celery"

    def __init__(
        self,
        *,
        app: str | None = None,
        queue: str | None = None,
        priorities: bool = False,
        in_flight: int = IN_FLIGHT,
        lease: float = DISPATCH_SECONDS,
        alias: str | None = None,
    ) -> None:
        super().__init__(in_flight=in_flight, lease=lease, alias=alias)
        self.queue, self.priorities = queue, priorities
        # Remembered: what Celery calls current is so in one thread alone.
        self._app = import_string(app) if app else current_app._get_current_object()

    def submit(self, slot: int, token: int, lane: int) -> None:
        options: dict[str, Any] = {"queue": self.queue} if self.queue else {}
        if self.priorities:
            options["priority"] = lane
        self._app.send_task(
            REFRESH,
            (slot, token, *self.elsewhere()),
            expires=self.lease,  # it means nothing any more: the row has been offered again
            retry=False,  # so does a tick, a second later
            ignore_result=True,
            **options,
        )


@shared_task(name=REFRESH, ignore_result=True)
def refresh(slot: int, token: int, alias: str | None = None) -> str | None:
    """Follow a hint; returns the outcome, or None where there was nothing to do any more."""
    from ..refresh.executor import entry  # which has to wait for Django's apps

    return entry(slot, token, alias=alias, worker=f"celery {socket.gethostname()} {os.getpid()}")


@shared_task(name=TICK, ignore_result=True)
def tick() -> int:
    """Hand out what is due; returns how many hints were sent. Two at once share the work."""
    from ..refresh.executor import tick as tick_all

    return tick_all()


def beat_schedule(seconds: float = 1.0, *, queue: str | None = None) -> dict[str, Any]:
    """Return what turns the wheel, for ``app.conf.beat_schedule``: a project that has a beat needs no ``kck worker``.

    Args:
        seconds: Between two ticks.
        queue: The queue that ticks go to; Celery's own default where not given.
    """
    options = {"expires": max(seconds, 1.0) * 5, **({"queue": queue} if queue else {})}
    return {TICK: {"task": TICK, "schedule": seconds, "options": options}}
