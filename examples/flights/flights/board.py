"""What the counted trips say: read from the stocks and flows, never from the table."""

from datetime import datetime
from typing import Any

from kck_flow import Cache

from flights.models import Trip
from flights.primers import Archived, Cancelled, Departed, Diverted, Landed, Scheduled

STOCKS = {
    Trip.SCHEDULED: Scheduled,
    Trip.DEPARTED: Departed,
    Trip.LANDED: Landed,
    Trip.CANCELLED: Cancelled,
    Trip.DIVERTED: Diverted,
    Trip.ARCHIVED: Archived,
}


def states() -> dict[str, dict[str, Any]]:
    """Return what is in each state: ``{"scheduled": {"value": 812, "facets": {"carrier": …, "origin": …}}, …}``.

    One statement, so no trip is in two states or in none.
    """
    keys = {state: str(stock.key_base) for state, stock in STOCKS.items()}
    found = Cache.get_instance().get_many(keys.values())
    return {state: found[key] for state, key in keys.items()}


def hourly(flow: str, start: datetime, end: datetime, facet: str | None = None) -> dict[datetime, Any]:
    """Return what a flow counted in each hour that ``[start, end)`` touches and in which something happened."""
    points = Cache.get_instance().series(flow, start, end, facet=facet)
    return {point.start: point.value for point in points if point.value}
