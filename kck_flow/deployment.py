"""What a project has not decided yet, told before it is deployed: ``manage.py check --deploy``.

W006 no worker lives · W007 how long things are kept is left at the default
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.db import DatabaseError

from . import conf as confs
from .checks import TAG
from .conf import conf
from .errors import StoreUnavailable
from .registry import registry
from .store import workers
from .store.session import caller
from .topic import Topic


@register(TAG, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """W006, W007: what a project that declares products has not decided yet, by ``manage.py check --deploy``."""
    given: Any = getattr(settings, "KCK_FLOW", None)
    if confs.problems() or not registry.unique():
        return []
    found: list[CheckMessage] = []
    living: int | None = None
    try:
        living = workers.living(caller(str(conf.DATABASES[0])), conf.WORKER_SEEN_SECONDS)
    except (DatabaseError, StoreUnavailable):
        pass  # where the database is not, such as where images are built, nobody can tell
    if living == 0:
        found.append(
            Warning(
                f"No worker was seen in the last {conf.WORKER_SEEN_SECONDS:g} s: nothing is refreshed on schedule, and "
                "what is stale only when it is read.",
                hint="Run manage.py kck worker as a service: docs/how-to/deploy-workers.md has the units.",
                id="kck_flow.W006",
            )
        )
    kept = ["RUN_RETENTION_DAYS"]
    if any(isinstance(primer, Topic) for primer in registry.unique()):
        kept.append("MESSAGE_RETENTION_DAYS")
    if left := [name for name in kept if name not in (given or {})]:
        told = " and ".join(f"KCK_FLOW['{name}'] ({getattr(conf, name):g})" for name in left)
        found.append(
            Warning(
                f"How long things are kept is left at the default: {told}.",
                hint="Decide it, and have manage.py kck prune run every day: docs/how-to/history.md.",
                id="kck_flow.W007",
            )
        )
    return found
