"""From the clock times of a timetable to instants. Plain Python: no database, no clock of its own.

The source writes clock times as numbers: 517 is 5:17, 2400 is the midnight at the end of a day. A departure
comes with the instant of its hour, so nothing about it has to be guessed. An arrival is a clock time at the
destination and nothing else: it is the first moment after the departure at which a clock there shows it.
"""

from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
MINUTE = timedelta(minutes=1)
DAY = 24 * 60  # minutes


def minute_of_day(clock: int) -> int:
    """Return the minute of the day that ``clock`` shows: 517 is 317; 2400 is 0, the next day's first.

    Raises:
        ValueError: No clock shows this.
    """
    hours, minutes = divmod(clock, 100)
    if not (0 <= minutes < 60 and (0 <= hours < 24 or clock == 2400)):
        raise ValueError(f"{clock} is not a clock time: 0 to 2359, or 2400")
    return (hours * 60 + minutes) % DAY


@cache
def _offset(zone: ZoneInfo, hour: datetime) -> timedelta:
    # Clocks change on the hour of some instant, never within one, in every zone these flights reach.
    offset = hour.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def offset(zone: ZoneInfo, at: datetime) -> timedelta:
    """Return how far clocks in ``zone`` are ahead of UTC at the instant ``at``, which is aware and in UTC."""
    return _offset(zone, at.replace(minute=0, second=0, microsecond=0))


def next_showing(clock: int, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the first instant, at or after ``after``, at which clocks in ``zone`` show ``clock``.

    Args:
        clock: As the source writes it, 0 to 2400.
        zone: Where the clock hangs.
        after: Aware, in UTC.

    Returns:
        Aware, in UTC. Where clocks jump over ``clock`` that night, the instant at which they would have shown
        it had they not been changed.
    """
    wanted = minute_of_day(clock)
    before, later = offset(zone, after), offset(zone, after + DAY * MINUTE)
    at = _wait(after, before, wanted)
    if before == later:  # as on 363 days of the year
        return at
    candidates = ((at, before), (_wait(after, later, wanted), later))
    shown = [one for one, ahead in candidates if offset(zone, one) == ahead]
    return min(shown, default=at)


def _wait(after: datetime, ahead: timedelta, wanted: int) -> datetime:
    local = after + ahead
    return after + (wanted - local.hour * 60 - local.minute) % DAY * MINUTE
