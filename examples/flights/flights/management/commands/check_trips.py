"""``manage.py check_trips``: what was counted of the replay, beside what plain SQL counts over the flights."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flights import auditing, replaying
from flights.clocks import NEW_YORK

MOST_TOLD = 10


class Command(BaseCommand):
    help = "Compare the stocks and flows of trips with a plain SQL count over the flights; exit 1 where they differ."

    def handle(self, **options: Any) -> None:
        try:
            with replaying.alone():
                wrong = self.compare()
        except replaying.ReplayRuns as error:
            raise CommandError(str(error)) from error
        if wrong:
            more = f"\n... and {len(wrong) - MOST_TOLD:,} more." if len(wrong) > MOST_TOLD else ""
            raise CommandError("\n".join(wrong[:MOST_TOLD]) + more)

    def compare(self) -> list[str]:
        clock, bounds = replaying.position(), replaying.bounds()
        if clock is None or bounds is None:
            raise CommandError("Nothing has been replayed. Run: manage.py replay_flights")
        stocks, archived = auditing.states_counted()
        flows = auditing.moves_counted(bounds[0], clock)
        source = auditing.states_in_source(clock) | auditing.moves_in_source(clock)
        counted = stocks | flows
        width = max(map(len, source))
        self.stdout.write(
            f"{clock.astimezone(NEW_YORK):%Y-%m-%d %H:%M}".ljust(width) + f"  {'counted':>9}  {'SQL':>9}"
        )
        for name, facets in source.items():
            numbers = (one[name].get("", {}).get(None, 0) for one in (counted, source))
            more = f"  in {len(facets.get('hour', {})):,} hours" if name in flows else ""
            if name == "landed" and archived:
                more = f"  of them {archived:,} archived"
            self.stdout.write(f"{name:{width}}  {'  '.join(f'{n:9,}' for n in numbers)}{more}")
        wrong = [*auditing.differences(counted, source), *auditing.unbalanced()]
        compared = sum(len(values) for facets in source.values() for values in facets.values())
        self.stdout.write(
            f"\n{compared:,} numbers compared, by carrier, origin and hour; {len(wrong):,} differ."
        )
        return wrong
