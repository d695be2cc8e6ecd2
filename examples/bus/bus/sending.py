"""Messages are put into the log, and how far that has come is written, in one transaction: a kill takes both back."""

from __future__ import annotations

import random

from django.db import transaction
from django.utils import timezone
from kck_flow import send_many

from bus.generating import Traffic, shuffled
from bus.models import Run

BATCH = 500
REMEMBERED = 5_000  # a message may come again while so many newer ones have been sent


class OtherRun(Exception):
    """What was begun has another seed or rate."""


def run_of(seed: int, rate: float) -> Run:
    """Return the run that was begun, or begin it.

    Raises:
        OtherRun: one was begun that has another seed or rate.
    """
    run = Run.objects.first()
    if run is None:
        run = Run.objects.create(seed=seed, rate=rate, began_at=timezone.now())
    if (run.seed, run.rate) != (seed, rate):
        raise OtherRun(
            f"A run is there already: {run}. Go on with its seed and rate, or take all of it away: "
            "manage.py flush"
        )
    return run


def send_some(pk: int, until: int, doubled: float, draw: random.Random) -> int:
    """Send what is next of a run, up to message ``until``, and some again; returns how many have been sent."""
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=pk)
        end = min(until, run.sent + BATCH)
        if end <= run.sent:
            return run.sent
        earlier = range(max(run.sent - REMEMBERED, 0), run.sent)
        numbers = shuffled(range(run.sent, end), earlier, doubled, draw)
        traffic: Traffic = run.traffic
        send_many(list(traffic.messages(numbers)))
        run.sent = end
        run.handed_in += len(numbers)
        run.save(update_fields=["sent", "handed_in"])
        return end
