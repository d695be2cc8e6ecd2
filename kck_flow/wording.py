"""Words for people: numbers with their units, changes, ages and instants, in the active language and zone.

The pages, the API, the tags and the admin all say them by these functions, so that one product has one wording.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from math import isfinite
from typing import Any, Final

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

MISSING: Final = "–"  # no value: never a zero
MINUS: Final = "−"
NBSP: Final = "\u00a0"
# So many digits behind the point where a metric does not say: what is smaller is seen in the table.
DIGITS: Final = 2
LONGEST_SPAN: Final = 10**12  # in seconds
MOST_DIGITS: Final = 2000  # what a number may have in all

STATES: Final[Mapping[str, Any]] = {
    "fresh": gettext_lazy("fresh"),
    "stale": gettext_lazy("stale"),
    "computing": gettext_lazy("computing"),
    "failed": gettext_lazy("failed"),
    "empty": gettext_lazy("empty"),
}

_STEPS: Final = ((1, 60, "s"), (60, 3600, "min"), (3600, 36 * 3600, "h"), (86_400, None, "d"))


def number(value: Any, form: str = "number", precision: int | None = None, *, sign: bool = False) -> str:
    """Return a number as people read it: ``4,391``, ``6.8 %``, ``55 min``, ``1.2 kB``; a dash for None.

    Args:
        form: ``number, percent`` (0.5 is 50 %), ``duration`` (seconds) or ``bytes``.
        precision: Digits behind the point, always so many; up to two where not given.
        sign: Whether a number above zero has a plus.
    """
    if value is None:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return str(value)
    if not isinstance(value, int) and not isfinite(value):
        return MISSING
    below = value < 0
    size = -value if below else value
    if form == "percent":
        text = _("%(number)s %%") % {"number": _grouped(exact(size) * 100, precision, 1)}
    elif form == "duration":
        text = span(size)
    elif form == "bytes":
        text = bytes_text(int(size))
    else:
        text = _grouped(size, precision, DIGITS)
    if not any(one in "123456789" for one in text):
        return text  # nothing is left of it: no sign
    if below:
        return f"{MINUS}{text}"
    return f"+{text}" if sign else text


def exact(value: Any) -> Decimal:
    """Return a number as a decimal; of a float, the one that it is written as."""
    return (
        value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)
    )


def _grouped(value: Any, precision: int | None, most: int) -> str:
    if isinstance(value, int) and precision is None:
        return str(formats.number_format(value, force_grouping=True))
    with localcontext(prec=MOST_DIGITS):
        return _rounded(exact(value), precision, most)


def _rounded(found: Decimal, precision: int | None, most: int) -> str:
    digits = precision if precision is not None else most
    if precision is None and found and abs(found) < Decimal(1).scaleb(-digits):
        digits = min(-found.adjusted() + 1, 12)  # the first two digits of what is smaller than that
    rounded = round(found, digits)
    if precision is None:
        rounded = rounded.normalize()
        exponent = rounded.as_tuple().exponent
        digits = max(-exponent, 0) if isinstance(exponent, int) else 0
    with_digits = (
        rounded.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN) if digits else round(rounded)
    )
    return str(formats.number_format(with_digits, decimal_pos=digits, force_grouping=True))


def unit(value: Any, singular: Any, plural: Any = "") -> str:
    """Return the unit that goes with a number: ``account`` with 1, ``accounts`` with any other; empty for none."""
    if not singular and not plural:
        return ""
    return str(singular or plural) if value == 1 else str(plural or singular)


def bytes_text(size: int) -> str:
    """Return a number of bytes: ``87 B``, ``1.2 kB``."""
    if size < 1000:
        return f"{size}{NBSP}B"
    steps = ((1_000_000, "kB"), (1_000_000_000, "MB"), (1_000_000_000_000, "GB"))
    limit, name = next((one for one in steps if size < one[0]), steps[-1])
    return f"{_grouped(Decimal(size) / limit * 1000, 1, 1)}{NBSP}{name}"


def span(seconds: Any) -> str:
    """Return a duration in its one fitting unit: ``0.8 s``, ``4 min``, ``2.5 h``, ``3 d``."""
    if abs(seconds) > LONGEST_SPAN:
        return f"{_grouped(exact(abs(seconds)) / 86_400, 0, 0)}{NBSP}{_('d')}"
    size = abs(float(seconds))
    if size < 0.0995:
        return f"{_grouped(round(size * 1000), None, 0)}{NBSP}{_('ms')}"
    units = {"s": _("s"), "min": _("min"), "h": _("h"), "d": _("d")}
    length, _limit, name = next(one for one in _STEPS if one[1] is None or size < one[1] - one[0] / 2)
    found = Decimal(repr(size)) / length
    short = name in ("s", "h") and found < Decimal("9.95") and abs(found - round(found)) >= Decimal("0.05")
    return f"{_grouped(found, 1 if short else 0, 1)}{NBSP}{units[name]}"


def age(seconds: float | None) -> str:
    """Return how long ago something was: ``just now``, ``4 min ago``; a dash where it never was."""
    if seconds is None:
        return MISSING
    if seconds < 5:
        return _("just now")
    return _("%(span)s ago") % {"span": span(seconds)}


def ahead(seconds: float | None) -> str:
    """Return when something is to be: ``now``, ``in 11 min``; a dash where it is not to be."""
    if seconds is None:
        return MISSING
    if seconds <= 0:
        return _("now")
    return _("in %(span)s") % {"span": span(seconds)}


def day(at: datetime, *, year: bool = False) -> str:
    """Return a day of the active zone: ``29 June``, with its year where asked for."""
    return str(
        formats.date_format(
            timezone.localtime(at) if at.tzinfo else at, "DATE_FORMAT" if year else "MONTH_DAY_FORMAT"
        )
    )


def instant(at: datetime | None, now: datetime | None = None) -> str:
    """Return an instant in the active zone: the time alone where it is of the day of ``now``, else with its date, and
    with its year where that is not the year of ``now``.
    """
    if at is None:
        return MISSING
    local, here = timezone.localtime(at), timezone.localtime(now) if now is not None else None
    time = str(formats.time_format(local, "H:i"))
    if here is not None and here.date() == local.date():
        return time
    return f"{day(local, year=here is None or here.year != local.year)}, {time}"


def period(start: datetime, by: str | timedelta | None, zone: Any = None) -> str:
    """Return what a step of a series is called: a day, the first of a week, a month, an hour."""
    local = start.astimezone(zone or timezone.get_current_timezone())
    if by == "month":
        return str(formats.date_format(local, "YEAR_MONTH_FORMAT"))
    if by == "year":
        return str(local.year)
    if by == "week":
        return _("week of %(day)s") % {"day": formats.date_format(local, "MONTH_DAY_FORMAT")}
    if by == "day":
        return str(formats.date_format(local, "MONTH_DAY_FORMAT"))
    if by == "hour" or (isinstance(by, timedelta) and by >= timedelta(minutes=1)):
        return f"{formats.date_format(local, 'MONTH_DAY_FORMAT')} {formats.time_format(local, 'H:i')}"
    return f"{formats.date_format(local, 'MONTH_DAY_FORMAT')} {formats.time_format(local, 'H:i:s')}"


def count(amount: int, singular: str, plural: str) -> str:
    """Return ``1 product``, ``2 products``: message ids with ``%(count)s``, translated."""
    return ngettext(singular, plural, amount) % {"count": number(amount)}


def change(now: Any, before: Any, form: str = "number", precision: int | None = None) -> tuple[str, str, str]:
    """Return how a number has changed: (``up``, ``down`` or ``same``; the change; it as a share, empty from zero)."""
    if now is None or before is None:
        return "", "", ""
    with localcontext(prec=MOST_DIGITS):
        difference = exact(now) - exact(before)
        told = number(difference, form, precision, sign=True)
        direction = "up" if difference > 0 else "down" if difference < 0 else "same"
        share = number(difference / abs(exact(before)), "percent", sign=True) if before else ""
        if not any(one in "123456789" for one in told):
            direction, share = "same", ""  # what is not seen is no change
        if form == "percent":  # 34 % is 4 points more than 30 %, and 13 % more
            points = number(round(difference * 100, 1 if precision is None else precision), sign=True)
            one = points.lstrip("+").lstrip(MINUS) == "1"
            return (
                direction,
                (_("%(points)s point") if one else _("%(points)s points")) % {"points": points},
                share,
            )
    return direction, told, share
