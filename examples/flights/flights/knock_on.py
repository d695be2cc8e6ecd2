"""How much of a delay was inherited: a plane that comes back late leaves late again.

Plain Python over the flights of the year, plane by plane. The source knows only departures from New York, so
the way back is not in it: it is taken to be as long as the way there, with a turn at each end. What the
timetable leaves over is slack. Lateness at arrival beyond the slack is inherited by the plane's next
departure, up to that departure's own delay; the rest of the delay is new.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from flights.clocks import NEW_YORK, offset

TURN = timedelta(minutes=40)  # on the ground between two flights
REST = timedelta(hours=12)  # a plane that has been away longer has had its night: nothing is inherited
MINUTE = timedelta(minutes=1)
LINK = 15  # minutes: from here on one late flight is said to have made another late


class Leg(NamedTuple):
    """One flight that left, as far as this reckoning needs it."""

    plane: str
    pk: int
    departure: datetime  # scheduled, aware, UTC
    arrival: datetime  # scheduled, aware, UTC
    departure_delay: int  # minutes
    arrival_delay: int | None  # minutes; None: diverted
    origin: str
    destination: str


def inherited(before: Leg, after: Leg) -> int:
    """Return the minutes of ``after``'s delay that came with the plane from ``before``; never below zero."""
    late = before.departure_delay if before.arrival_delay is None else before.arrival_delay
    if late <= 0 or after.departure_delay <= 0:
        return 0
    between = after.departure - before.arrival
    if between > REST:
        return 0
    slack = max(0, (between - (before.arrival - before.departure) - 2 * TURN) // MINUTE)
    return max(0, min(after.departure_delay, late - slack))


def knock_on(legs: Iterable[Leg], *, longest: int = 5) -> dict[str, Any]:
    """Return how the delays of a year were handed on.

    Args:
        legs: Ordered by plane, then by scheduled departure.
        longest: How many chains to tell of.

    Returns:
        ``planes`` and ``flights`` looked at; ``minutes`` of delay in all (early departures count as none) and
        how many of them were ``inherited``; ``hours``, the same two by scheduled hour of the day in New York,
        a list of ``[hour, minutes, inherited]``; ``chains``, runs of two flights or more of which each made
        the next one late: how many there were, and the ``longest`` ones, the longest first, with their
        flights.
    """
    flights = minutes = total = chains = 0
    planes: set[str] = set()
    hours: dict[int, list[int]] = {}
    best: list[list[tuple[Leg, int]]] = []
    chain: list[tuple[Leg, int]] = []
    before: Leg | None = None

    def close() -> None:
        nonlocal chains
        if len(chain) > 1:
            chains += 1
            best.append(chain)
            best.sort(key=lambda one: (-len(one), -sum(part for _, part in one), one[0][0].pk))
            del best[longest:]

    for leg in legs:
        flights += 1
        planes.add(leg.plane)
        delay = max(0, leg.departure_delay)
        part = inherited(before, leg) if before is not None and before.plane == leg.plane else 0
        minutes += delay
        total += part
        of_hour = hours.setdefault((leg.departure + offset(NEW_YORK, leg.departure)).hour, [0, 0])
        of_hour[0] += delay
        of_hour[1] += part
        if part >= LINK:
            chain.append((leg, part))
        else:
            close()
            chain = [(leg, 0)]
        before = leg
    close()
    return {
        "planes": len(planes),
        "flights": flights,
        "minutes": minutes,
        "inherited": total,
        "hours": [[hour, *hours[hour]] for hour in sorted(hours)],
        "chains": chains,
        "longest": [[_told(leg, part) for leg, part in one] for one in best],
    }


def _told(leg: Leg, part: int) -> dict[str, Any]:
    return {
        "pk": leg.pk,
        "plane": leg.plane,
        "departure": leg.departure,
        "origin": leg.origin,
        "destination": leg.destination,
        "delay": leg.departure_delay,
        "inherited": part,
    }
