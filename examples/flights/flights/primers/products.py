"""What is kept of the flights, how fresh it must be, and what makes it move.

``figures`` says how each number is counted; here is only what a cache has to know about it.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from django.utils import timezone
from kck_flow import (
    Cache,
    Change,
    ChoiceParameter,
    DateParameter,
    DateTimeParameter,
    IntegerParameter,
    Key,
    On,
    Primer,
    StringParameter,
    cron,
    every,
)
from kck_flow.models import DataProduct

from flights import figures
from flights.clocks import NEW_YORK
from flights.knock_on import knock_on
from flights.models import Flight

ORIGIN = ChoiceParameter("airport", figures.ORIGINS)  # any other airport is an InvalidKey, and never a query


class DelayBoard(Primer):
    """How late an airport's departures left, by hour and by airline.

    Half a second of sums. When a flight changes, readers keep the old board while a worker makes the new one.
    """

    key_base = "delay_board"
    parameters = [ORIGIN]
    soft_expire = timedelta(hours=1)
    hard_expire = timedelta(days=1)
    schedule = every(hours=1)
    domain = [code for code, name in figures.ORIGINS]
    depends_on = [On(Flight, key="origin_id", then="refresh", fields=["departure_delay", "origin"])]
    min_gap = timedelta(seconds=10)

    def compute(self, key: Key) -> figures.Value:
        return figures.delay_board(key.params["airport"])


class DelayTally(Primer):
    """How many of an airport's departures were late, and by how many minutes in all.

    Saving a flight changes the tally by that flight's part, old and new: nobody counts the airport's 100,000
    flights again. A flight moved from one airport to another reaches both, each with its own side.
    """

    key_base = "delay_tally"
    parameters = [ORIGIN]
    depends_on = [On(Flight, key="origin_id", then="augment", fields=["departure_delay", "origin"])]

    def compute(self, key: Key) -> dict[str, int]:
        return figures.delay_tally(key.params["airport"])

    def augment(self, key: Key, value: dict[str, int], changes: Sequence[Change]) -> dict[str, int]:
        for change in changes:
            for row, sign in ((change.old, -1), (change.new, 1)):
                if row is not None:
                    part = figures.tally_of(row.departure_delay)
                    value = {name: count + sign * part[name] for name, count in value.items()}
        return value


class AirlineDay(Primer):
    """One airline's day."""

    key_base = "airline_day"
    parameters = [StringParameter("airline"), DateParameter("day")]
    depends_on = [On(Flight, key={"airline": "airline_id", "day": "day"})]

    def compute(self, key: Key) -> figures.Value:
        return figures.airline_day(key.params["airline"], key.params["day"])


def hours_of(change: Change) -> list[dict[str, Any]]:
    """Return the airport's hour that a changed flight belongs to; both, when it was moved."""
    return [
        {"airport": row.origin_id, "hour": row.scheduled_departure.replace(minute=0)}
        for row in (change.old, change.new)
        if row is not None
    ]


class AirportHour(Primer):
    """An airport's departures in one hour, and the weather they met."""

    key_base = "airport_hour"
    parameters = [ORIGIN, DateTimeParameter("hour", tz="America/New_York")]
    depends_on = [On(Flight, key=hours_of)]
    max_entries = 1_000  # of the 26,000 hours that somebody may ask for; the long unread go first

    def compute(self, key: Key) -> figures.Value:
        return figures.airport_hour(key.params["airport"], key.params["hour"])


class Destinations(Primer):
    """Where one could fly to, the most frequent first."""

    key_base = "destinations"
    soft_expire = timedelta(days=1)

    def compute(self, key: Key) -> list[list[Any]]:
        return figures.destinations()


class Destination(Primer):
    """How the flights to one airport arrived."""

    key_base = "destination"
    parameters = [StringParameter("airport")]
    depends_on = [On(Flight, key="destination_id")]

    def compute(self, key: Key) -> figures.Value:
        return figures.destination(key.params["airport"])


class LateDestinations(Primer):
    """The destinations with the most late arrivals, found without looking at all of them.

    There are 105 destinations, each a product of its own. No more flights can be late than there were: so the
    ranking reads them from the most frequent down, and stops where even all of the next one's flights would
    not be enough. The products below that line are never computed on its account.
    """

    key_base = "late_destinations"
    parameters = [IntegerParameter("top", default=10)]
    soft_expire = timedelta(hours=1)

    def compute(self, key: Key) -> figures.Value:
        cache = Cache.get_instance()
        top: int = key.params["top"]
        listed = cache.get("destinations")
        best: list[tuple[int, str, figures.Value]] = []
        read = 0
        for code, flights in listed:
            if len(best) == top and flights < best[-1][0]:
                break
            found = cache.get(cache.build_key("destination", airport=code))
            read += 1
            best.append((found["late"], code, found))
            best.sort(key=lambda one: (-one[0], one[1]))
            del best[top:]
        return {
            "ranking": [{"code": code, **found} for _, code, found in best],
            "read": read,
            "of": len(listed),
        }


class OnThisDay(Primer):
    """What happened on this day in 2013, made each morning at six, New York time.

    It is put together from sixteen other products, one for each airline, which are there for their own pages.
    """

    key_base = "on_this_day"
    schedule = cron("0 6 * * *", tz="America/New_York")

    def compute(self, key: Key) -> figures.Value:
        day: date = figures.same_day_in_2013(timezone.localdate(timezone=NEW_YORK))
        cache = Cache.get_instance()
        keys = {code: cache.build_key("airline_day", airline=code, day=day) for code in figures.airlines()}
        days = cache.get_many(keys.values())
        flown = [{"code": code, **days[key]} for code, key in keys.items() if days[key]["flights"]]
        counts = ("flights", "cancelled", "late", "diverted")
        return {
            "day": day,
            **{name: sum(one[name] for one in flown) for name in counts},
            "airlines": [
                {name: one[name] for name in ("code", "airline", "mean", *counts)}
                for one in sorted(flown, key=lambda one: (-one["late"], one["code"]))
            ],
        }


class KnockOn(Primer):
    """How much of the year's delay was handed on from flight to flight by planes that came back late.

    Every plane's year is followed from flight to flight: seconds to compute, a millisecond to get. A changed
    flight asks for it anew, but not more often than every five minutes; until then everybody reads the old
    one.
    """

    key_base = "knock_on"
    soft_expire = timedelta(days=1)
    schedule = every(days=1)
    wait = timedelta(seconds=60)
    depends_on = [On(Flight, then="refresh", fields=["departure_delay", "arrival_delay"])]
    min_gap = timedelta(minutes=5)

    def compute(self, key: Key) -> figures.Value:
        return knock_on(figures.legs())


PRIMERS = (
    DelayBoard,
    DelayTally,
    AirlineDay,
    AirportHour,
    Destinations,
    Destination,
    LateDestinations,
    OnThisDay,
    KnockOn,
)


def invalidate_all() -> None:
    """Make everything that is stored of the flights unservable, so that it is computed when next asked for."""
    families = [primer.key_base for primer in PRIMERS]
    stored = DataProduct.objects.filter(key_base__in=families).values_list("key_base", flat=True).distinct()
    for family in stored:
        Cache.get_instance().invalidate(key_base=family)
