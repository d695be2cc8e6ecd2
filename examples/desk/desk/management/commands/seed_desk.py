"""``manage.py seed_desk``: some months of a support desk, lived in less than a minute."""

import time
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from kck_flow import Cache
from kck_flow.models import Annotation
from kck_flow.testing import freeze_time

from desk import seeding
from desk.generating import Story
from desk.models import Ticket

TOLD_EVERY = 30  # days
ANEW = (
    "In a schema of its own, manage.py own_schema --anew makes an empty one; another database will do, too."
)


class Command(BaseCommand):
    help = "Make the tables as of four months ago, and live these months. Does nothing where that was done."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seed", type=int, default=42, help="which tickets they are (42)")
        parser.add_argument(
            "--until", type=datetime.fromisoformat, help="when it ends, 2026-03-01T12:00 (now)"
        )
        parser.add_argument("--days", type=int, default=120, help="how long it is (120)")
        parser.add_argument("--tickets", type=int, default=3_000, help="how many are opened (3000)")

    def handle(self, *, seed: int, until: datetime | None, days: int, tickets: int, **options: Any) -> None:
        zone = timezone.get_default_timezone()
        until = until or timezone.now()
        until = until.replace(tzinfo=zone) if until.tzinfo is None else until.astimezone(zone)
        story = Story(seed, until, days, tickets)
        began = time.monotonic()
        if self.make_tables(story):
            self.stderr.write(f"desk: {Ticket.objects.count():,} tickets are there already", str)
            return
        for day, (end, there) in enumerate(seeding.live(story), 1):
            if day % TOLD_EVERY == 0:
                self.stderr.write(f"{end.astimezone(zone):%Y-%m-%d}  {there:,} tickets", str)
        User.objects.create_superuser("demo", password="demo")
        took = time.monotonic() - began
        self.stderr.write(f"desk: {Ticket.objects.count():,} tickets, {days:,} days in {took:.0f} s", str)
        self.stderr.write("Its admin is at /admin/: user demo, password demo.", str)

    def make_tables(self, story: Story) -> bool:
        """Make the tables on the first day of a story; returns whether it was lived already."""
        begin = story.midnights[0]
        with freeze_time(begin):
            call_command("migrate", verbosity=0)
        if Ticket.objects.exists():
            if not Annotation.objects.exists():  # they are told at the end
                raise CommandError(f"A story was begun here, and not ended. {ANEW}")
            return True
        with freeze_time(begin):
            told = Cache.get_instance().picture("tickets", begin)
        since = max(flow["since"] for flow in told["flows"].values())
        if since > begin:
            raise CommandError(
                f"The tables were made at {since:%Y-%m-%d %H:%M %Z}, and count from then on; the story begins "
                f"{begin:%Y-%m-%d}. {ANEW}"
            )
        return False
