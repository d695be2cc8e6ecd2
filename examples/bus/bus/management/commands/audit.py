"""``manage.py audit``: what the products hold, beside what was sent, product by product."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from kck_flow.models import Held, Outbox

from bus import auditing
from bus.models import Run

MOST_TOLD = 10


class Command(BaseCommand):
    help = "Compare every product with what the messages that were sent come to; exit 1 where one differs."

    def handle(self, **options: Any) -> None:
        run = Run.objects.first()
        if run is None:
            raise CommandError("Nothing has been sent. Run: manage.py generate")
        logged, parked = Outbox.objects.count(), Held.objects.count()
        self.stdout.write(f"{run.sent:,} messages sent, {run.handed_in:,} times; {logged:,} in the log\n\n")
        self.stdout.write(f"{'':14}{'sent':>12}{'counted':>12}{'products':>12}{'differ':>8}")
        wrong = [] if logged == run.sent else [f"the log: {logged:,} messages, sent {run.sent:,}"]
        if parked:
            wrong.append(f"{parked:,} messages are set aside: manage.py kck status")
        for one in auditing.audit(run):
            self.stdout.write(
                f"{one.key_base:14}{one.sent:12,}{one.counted:12,}{one.products:12,}{len(one.wrong):8,}"
            )
            wrong += one.wrong
        if wrong:
            more = f"\n... and {len(wrong) - MOST_TOLD:,} more." if len(wrong) > MOST_TOLD else ""
            raise CommandError("Not what was sent:\n" + "\n".join(wrong[:MOST_TOLD]) + more)
        self.stdout.write("\nEvery message that was sent is counted, once.")
