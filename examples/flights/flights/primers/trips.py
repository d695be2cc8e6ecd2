"""How many flights are in each state, and what moves between them: stocks and flows over the table of trips.

Nothing here is computed, and nobody who moves a trip knows of it. The triggers that ``migrate`` puts on the table
see every write, whichever way it comes: ``save()``, ``update()``, ``bulk_create()``, raw SQL.
"""

from datetime import timedelta

from django.db.models import Max, Q
from kck_flow import Facet, Flow, ModelParameter, Process, Stock, every, scheduled

from flights.figures import ORIGINS
from flights.models import Airline, Trip

CARRIER = Facet("carrier", "airline")
ORIGIN = Facet("origin", values=[code for code, _ in ORIGINS])

ARCHIVED_AFTER = timedelta(days=30)


class Scheduled(Stock):
    """On the board, and not gone yet."""

    key_base = "trips_scheduled"
    model, members = Trip, Q(state=Trip.SCHEDULED)
    facets = [CARRIER, ORIGIN]


class Departed(Stock):
    """In the air."""

    key_base = "trips_departed"
    model, members = Trip, Q(state=Trip.DEPARTED)
    facets = [CARRIER, ORIGIN]


class Landed(Stock):
    """Down where they were to go."""

    key_base = "trips_landed"
    model, members = Trip, Q(state=Trip.LANDED)
    facets = [CARRIER, ORIGIN]


class Cancelled(Stock):
    """Those that never left."""

    key_base = "trips_cancelled"
    model, members = Trip, Q(state=Trip.CANCELLED)
    facets = [CARRIER, ORIGIN]


class Diverted(Stock):
    """Down somewhere else."""

    key_base = "trips_diverted"
    model, members = Trip, Q(state=Trip.DIVERTED)
    facets = [CARRIER, ORIGIN]


class Archived(Stock):
    """Landed so long ago that nobody asks any more."""

    key_base = "trips_archived"
    model, members = Trip, Q(state=Trip.ARCHIVED)
    facets = [CARRIER, ORIGIN]


class AirlineTrips(Stock):
    """One airline's flights, by state: ``airline_trips/UA``."""

    key_base = "airline_trips"
    parameters = [ModelParameter("airline", Airline, field="airline_id")]
    model = Trip
    facets = [Facet("state", values=[state for state, _ in Trip.STATES])]


class Announcing(Flow):
    """Flights that came onto the board, a day before they were to leave."""

    key_base, sources, sinks = "trips_announcing", [None], [Scheduled]
    facets, at = [CARRIER, ORIGIN], "changed_at"


class Departing(Flow):
    """Flights that left, in the hour in which they did."""

    key_base, sources, sinks = "trips_departing", [Scheduled], [Departed]
    facets, at = [CARRIER, ORIGIN], "changed_at"


class Landing(Flow):
    """Flights that came down where they were to go."""

    key_base, sources, sinks = "trips_landing", [Departed], [Landed]
    facets, at = [CARRIER, ORIGIN], "changed_at"


class Cancelling(Flow):
    """Flights that were given up; the source does not say when, so in the hour in which they were to leave."""

    key_base, sources, sinks = "trips_cancelling", [Scheduled], [Cancelled]
    facets, at = [CARRIER, ORIGIN], "changed_at"


class Diverting(Flow):
    """Flights that came down somewhere else."""

    key_base, sources, sinks = "trips_diverting", [Departed], [Diverted]
    facets, at = [CARRIER, ORIGIN], "changed_at"


class Archiving(Flow):
    """Flights that were put away, on the day on which the action below did it: today, not in 2013."""

    key_base, sources, sinks, window = "trips_archiving", [Landed], [Archived], "day"
    facets = [CARRIER, ORIGIN]


class Trips(Process):
    """All of it: each flight comes onto the board, and ends somewhere."""

    key_base = "trips"
    stocks = [Scheduled, Departed, Landed, Cancelled, Diverted, Archived]
    flows = [Announcing, Departing, Landing, Cancelling, Diverting, Archiving]


@scheduled(every(minutes=1), name="archive_trips", compute_limit=timedelta(minutes=10))
def archive_trips() -> int:
    """Put away what landed 30 days ago or earlier, by the replay's clock; returns how many trips."""
    clock = Trip.objects.aggregate(clock=Max("changed_at"))["clock"]
    if clock is None:
        return 0
    old = Trip.objects.filter(state=Trip.LANDED, changed_at__lte=clock - ARCHIVED_AFTER)
    return old.update(state=Trip.ARCHIVED)  # when it landed stays as it was
