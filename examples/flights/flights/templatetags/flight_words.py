"""Numbers and instants in words, as the pages say them."""

from datetime import datetime, timedelta
from typing import Any

from django import template

from flights.clocks import NEW_YORK

register = template.Library()
DASH = "—"


@register.filter
def number(value: Any, places: int = 0) -> str:
    """1234.5 → 1,235. Missing is a dash; zero is zero."""
    return DASH if value is None else f"{value:,.{places}f}".replace("-", "−")


@register.filter
def percent(part: float | None, whole: float | None) -> str:
    """Part of a whole → 21.0 %."""
    return DASH if part is None or not whole else f"{100 * part / whole:.1f} %"


@register.filter
def minutes(value: float | None) -> str:
    """75 → 1 h 15 min; below zero is early."""
    if value is None:
        return DASH
    sign, value = ("−" if value < 0 else ""), abs(round(value))
    return f"{sign}{value // 60} h {value % 60} min" if value >= 60 else f"{sign}{value} min"


@register.filter
def lateness(value: float | None) -> str:
    """75 → 1 h 15 min late; −3 → 3 min early; a flight that never left is cancelled."""
    if value is None:
        return "cancelled"
    rounded = round(value)
    if rounded == 0:
        return "on time"
    return f"{minutes(abs(rounded))} {'late' if rounded > 0 else 'early'}"


@register.filter
def ago(age: timedelta | None) -> str:
    """How old: just now, 40 s, 4 min, 2 h, 3 d."""
    if age is None:
        return DASH
    seconds = int(age.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago" if seconds >= 5 else "just now"


@register.filter
def clock(at: datetime | None) -> str:
    """An instant as New York's clocks show it: 08:15."""
    return DASH if at is None else at.astimezone(NEW_YORK).strftime("%H:%M")
