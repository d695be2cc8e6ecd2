"""What plain SQL says about the same trips: counted over the flights as they were loaded, with nothing in between.

Not from the view that the replay reads, and not from the trips: those are what is to be checked.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from kck_flow import Cache

from flights import board
from flights.models import Trip

HOUR = timedelta(hours=1)
# Facet name ("" is the total, "hour" the windows of a flow) to value to number.
Counts = Mapping[str, Mapping[Any, int]]

FLOWN = """
WITH flown AS (
    SELECT airline_id AS carrier, origin_id AS origin, departure_delay, arrival_delay, scheduled_departure,
           scheduled_departure - interval '24 hours' AS announced,
           scheduled_departure + departure_delay * interval '1 minute' AS departed,
           greatest(scheduled_departure + departure_delay * interval '1 minute',
                    coalesce(arrived_at, scheduled_arrival + departure_delay * interval '1 minute')) AS down
    FROM flights_flight
)
"""
STATES = (
    FLOWN
    + """
SELECT state, carrier, origin, count(*) FROM (
    SELECT carrier, origin, CASE
        WHEN announced > %(clock)s THEN NULL
        WHEN departure_delay IS NULL AND scheduled_departure <= %(clock)s THEN 'cancelled'
        WHEN departure_delay IS NULL OR departed > %(clock)s THEN 'scheduled'
        WHEN down > %(clock)s THEN 'departed'
        WHEN arrival_delay IS NULL THEN 'diverted'
        ELSE 'landed' END AS state
    FROM flown
) AS trips
WHERE state IS NOT NULL GROUP BY GROUPING SETS ((state), (state, carrier), (state, origin))
"""
)
MOVES = (
    FLOWN
    + """
SELECT carrier, origin, date_bin('1 hour', {at}, '1970-01-01Z') AS hour, count(*) FROM flown
WHERE {which} AND {at} <= %(clock)s GROUP BY GROUPING SETS ((), (carrier), (origin), (hour))
"""
)
# Flow to (when it was, which flights).
FLOWS = {
    "trips_announcing": ("announced", "true"),
    "trips_departing": ("departed", "departure_delay IS NOT NULL"),
    "trips_landing": ("down", "departure_delay IS NOT NULL AND arrival_delay IS NOT NULL"),
    "trips_cancelling": ("scheduled_departure", "departure_delay IS NULL"),
    "trips_diverting": ("down", "departure_delay IS NOT NULL AND arrival_delay IS NULL"),
}
# State to the flows into it and out of it.
BALANCE = {
    Trip.SCHEDULED: (["trips_announcing"], ["trips_departing", "trips_cancelling"]),
    Trip.DEPARTED: (["trips_departing"], ["trips_landing", "trips_diverting"]),
    Trip.LANDED: (["trips_landing"], ["trips_archiving"]),
    Trip.CANCELLED: (["trips_cancelling"], []),
    Trip.DIVERTED: (["trips_diverting"], []),
    Trip.ARCHIVED: (["trips_archiving"], []),
}


def states_in_source(clock: datetime) -> dict[str, Counts]:
    """Return how many flights were in each state at an instant, in all and by facet."""
    found: dict[str, Any] = {state: defaultdict(dict) for state in BALANCE if state != Trip.ARCHIVED}
    for state, carrier, origin, n in _rows(STATES, clock):
        facet, value = ("carrier", carrier) if carrier else ("origin", origin) if origin else ("", None)
        found[state][facet][value] = n
    return found


def moves_in_source(clock: datetime) -> dict[str, Counts]:
    """Return how many flights had made each move by an instant, in all, by facet and by hour."""
    found: dict[str, Any] = {}
    for flow, (at, which) in FLOWS.items():
        found[flow] = defaultdict(dict)
        for carrier, origin, hour, n in _rows(MOVES.format(at=at, which=which), clock):
            told = (("carrier", carrier), ("origin", origin), ("hour", hour), ("", None))
            facet, value = next((name, one) for name, one in told if one is not None or not name)
            if n:
                found[flow][facet][value] = n
    return found


def _rows(statement: str, clock: datetime) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"clock": clock})
        return cursor.fetchall()


def states_counted() -> tuple[dict[str, Counts], int]:
    """Return what the stocks say, as above, and how many of the landed are archived: those landed, too."""
    found = {state: _counts(value) for state, value in board.states().items()}
    archived = found.pop(Trip.ARCHIVED)
    landed = found[Trip.LANDED]
    found[Trip.LANDED] = {
        facet: {
            value: landed[facet].get(value, 0) + archived[facet].get(value, 0)
            for value in {**landed[facet], **archived[facet]}
        }
        for facet in landed
    }
    return found, archived[""].get(None, 0)


def moves_counted(start: datetime, end: datetime) -> dict[str, Counts]:
    """Return what the flows say, as above; their hours over ``[start, end]``."""
    cache = Cache.get_instance()
    return {
        flow: {**_counts(cache.get(flow)), "hour": board.hourly(flow, start, end + HOUR)} for flow in FLOWS
    }


def _counts(value: dict[str, Any]) -> dict[str, dict[Any, int]]:
    """Return a stock's or a flow's value by facet, the total among them, without zeros."""
    parts = {"": {None: value["value"]}, **value["facets"]}
    return {facet: {one: n for one, n in counts.items() if n} for facet, counts in parts.items()}


def differences(counted: Mapping[str, Counts], source: Mapping[str, Counts]) -> Iterator[str]:
    """Yield each number that is not the source's."""
    for name, facets in source.items():
        for facet in sorted({*facets, *counted[name]}):
            have, want = counted[name].get(facet, {}), facets.get(facet, {})
            for value in sorted({*have, *want}, key=str):
                if have.get(value, 0) != want.get(value, 0):
                    place = f" {facet} {value}" if facet else ""
                    yield f"{name}{place}: counted {have.get(value, 0):,}, source {want.get(value, 0):,}"


def unbalanced() -> Iterator[str]:
    """Yield each stock that is not what came in less what went out, in all or for some facet value."""
    stocks = {state: _counts(value) for state, value in board.states().items()}
    cache = Cache.get_instance()
    flows = {flow: _counts(cache.get(flow)) for flow in (*FLOWS, "trips_archiving")}
    for state, (into, out) in BALANCE.items():
        for facet, held in stocks[state].items():
            moved: dict[Any, int] = defaultdict(int)
            for sign, names in ((1, into), (-1, out)):
                for name in names:
                    for value, n in flows[name][facet].items():
                        moved[value] += sign * n
            for value in sorted({*held, *moved}, key=str):
                if held.get(value, 0) != moved[value]:
                    place = f" {facet} {value}" if facet else ""
                    yield f"{state}{place}: {held.get(value, 0):,} there, {moved[value]:,} came and did not go"
