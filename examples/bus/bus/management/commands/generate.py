"""``manage.py generate``: messages at any rate; taken up where it was left, however it was ended."""

import random
import re
import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from bus import sending

TOLD_EVERY = 5.0  # seconds
EACH = {"": 1, "s": 1, "m": 60, "h": 3600}


def rate(text: str) -> float:
    """Read messages a second: ``500``, ``500/s``, ``6000/m``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/([smh]))?", text)
    if found is None or not float(found[1]):
        raise ArgumentTypeError(f"a rate is a number above 0, such as 500/s or 6000/m, not {text!r}")
    return float(found[1]) / EACH[found[2] or ""]


def share(text: str) -> float:
    found = float(text)
    if not 0 <= found <= 1:
        raise ArgumentTypeError(f"a share is from 0 to 1, not {text}")
    return found


class Command(BaseCommand):
    help = "Send what a build farm says, so many messages a second; go on where the last one was ended."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--rate", type=rate, default=500.0, help="messages a second: 500/s, 6000/m (500/s)"
        )
        parser.add_argument("--seconds", type=float, help="for how long, from the run's beginning (for ever)")
        parser.add_argument("--seed", type=int, default=1, help="which messages they are (1)")
        parser.add_argument(
            "--doubled", type=share, default=0.3, help="the share that is sent twice, 0 to 1 (0.3)"
        )

    def handle(
        self, *, rate: float, seconds: float | None, seed: int, doubled: float, **options: Any
    ) -> None:
        try:
            run = sending.run_of(seed, rate)
        except sending.OtherRun as error:
            raise CommandError(str(error)) from None
        draw = random.Random()
        sent, told_at = run.sent, time.monotonic()
        self.stderr.write(f"generating · from message {sent:,} on, {rate:g} a second", str)
        most = round(rate * seconds) if seconds is not None else None
        while most is None or sent < most:
            # Whoever was down for a while has to catch up.
            due = int((timezone.now() - run.began_at).total_seconds() * rate)
            before, sent = (
                sent,
                sending.send_some(run.pk, due if most is None else min(due, most), doubled, draw),
            )
            if sent == before:
                time.sleep(0.05)
            if time.monotonic() - told_at > TOLD_EVERY:
                told_at = time.monotonic()
                self.stderr.write(f"{sent:,} messages sent", str)
        run.refresh_from_db()
        self.stderr.write(f"{run.sent:,} messages sent, {run.handed_in:,} times", str)
