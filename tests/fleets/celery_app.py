"""The Celery of the test project, as Celery's guide for Django has it, with a beat that turns the wheel."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.fleets.settings")


def made(broker: str) -> Celery:
    """Return an app on this broker."""
    app = Celery("tests", broker=broker, set_as_current=True)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_connect_timeout": 1.0},
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
    )
    return app


if "KCK_TEST_BROKER" in os.environ:
    from kck_flow.executors.celery import beat_schedule

    app = made(os.environ["KCK_TEST_BROKER"])
    app.autodiscover_tasks()
    app.conf.beat_schedule = beat_schedule(0.3)
    app.conf.beat_max_loop_interval = 0.3
