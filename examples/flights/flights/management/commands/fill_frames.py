"""``manage.py fill_frames``: a worker makes the time frames of weather and delays; they are compared with plain SQL."""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import F
from kck_flow.models import Frame
from kck_flow.streams import frames

from flights import comparing, streams
from flights.clocks import NEW_YORK
from flights.loading import Progress
from flights.models import Flight

FAMILIES = ("weather", "delays")
MOST_TOLD = 10
LOOK_SECONDS = 0.5


class Command(BaseCommand):
    help = "Make the time frames of weather and delays by a worker; compare with plain SQL, exit 1 where they differ."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--year", action="store_true", help="of the whole year, not only of settings.FRAMES"
        )
        parser.add_argument("--concurrency", type=int, default=2, help="how many frames at a time (2)")

    def handle(self, *, year: bool, concurrency: int, **options: Any) -> None:
        if not Flight.objects.exists():
            raise CommandError("There are no flights yet. Run: manage.py load_flights")
        part = "2013" if year else settings.FRAMES
        start, end = streams.span(part)
        self.work(part, concurrency)
        wrong = self.compare(start, end)
        if wrong:
            more = f"\n... and {len(wrong) - MOST_TOLD:,} more." if len(wrong) > MOST_TOLD else ""
            raise CommandError("\n".join(wrong[:MOST_TOLD]) + more)

    def work(self, part: str, concurrency: int) -> None:
        """Run a worker until all that is due is done."""
        start, end = streams.span(part)
        expected = sum(len(frames.windows(name, start, end)) for name in FAMILIES)
        closed = before = self.closed(start, end)
        if before >= expected:
            self.stderr.write("frames: closed already", str)
            return
        for name in FAMILIES:
            frames.wake(name)  # or the worker would look when it is time to, and end if it is not
        began = time.monotonic()
        progress = Progress("frames", expected - before, unit="closed")
        worker = subprocess.Popen(
            [
                sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "kck", "worker", "--once", "-v0",
                "--products", ",".join(FAMILIES), "--concurrency", str(concurrency),
            ],
            env={**os.environ, "FRAMES": part},
        )  # fmt: skip
        heeded = signal.signal(signal.SIGTERM, _stop)  # no worker of ours outlives us
        try:
            while worker.poll() is None:
                time.sleep(LOOK_SECONDS)
                now = self.closed(start, end)
                progress.add(now - closed)
                closed = now
        finally:
            if worker.poll() is None:
                worker.terminate()
                worker.wait()
            signal.signal(signal.SIGTERM, heeded)
        took = time.monotonic() - began
        made = self.closed(start, end) - before
        self.stderr.write(
            f"frames: {made:,} planned and computed in {took:.1f} s, {made / took:,.0f} a second", str
        )
        if worker.returncode:
            raise CommandError(
                f"The worker ended with exit code {worker.returncode}. See: manage.py kck frames weather --state failed"
            )

    def closed(self, start: datetime, end: datetime) -> int:
        """Return how many frames are closed, and not to be made again."""
        found = Frame.objects.filter(key_base__in=FAMILIES, state=Frame.CLOSED, have__gte=F("want"))
        return found.filter(start_at__gte=start, start_at__lt=end).count()

    def compare(self, start: datetime, end: datetime) -> list[str]:
        made = [comparing.weather(size, start, end) for size in ("1h", "1d")]
        made += [comparing.delays(size, start, end) for size in ("15m", "1h", "1d")]
        first, last = start.astimezone(NEW_YORK), (end - streams.HOUR).astimezone(NEW_YORK)
        self.stdout.write(f"{first:%Y-%m-%d} to {last:%Y-%m-%d}")
        self.stdout.write(f"{'':12}  {'frames':>8}  {'gaps':>6}  {'made of':>22}  {'SQL':>9}")
        for one in made:
            what = "observations" if one.name.startswith("weather") else "flights"
            self.stdout.write(
                f"{one.name:12}  {one.windows - one.missing:8,}  {one.missing + one.incomplete:6,}  "
                f"{one.items:9,} {what:12}  {one.in_source:9,}"
            )
        wrong = [sentence for one in made for sentence in one.wrong]
        missing = sum(one.missing for one in made)
        if missing:
            wrong.insert(
                0, f"{missing:,} frames are missing. Run it again, or see: manage.py kck frames delays"
            )
        numbers = sum(one.numbers for one in made)
        self.stdout.write(
            f"\n{numbers:,} numbers compared, by airport, airline and window; {len(wrong):,} differ."
        )
        return wrong


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
