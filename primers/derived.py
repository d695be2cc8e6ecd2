"""Numbers made of other numbers: shares, ratios, moving averages, funnels.

::

    # shop/primers.py
    from primers import derived


    class Conversion(derived.Percentage):
        key_base, of, to = "conversion", "paying_customers", "customers"


    class BasketOfShop(derived.Ratio):
        key_base, parameters = "basket", [IntegerParameter("shop")]
        of, to = "revenue_of_shop/{shop}", "orders_of_shop/{shop}"


    class SignUpFunnel(derived.Funnel):
        key_base, steps, days = "sign_up_funnel", ["visiting", "signing_up", "paying"], 30


    class Weekly(derived.Rolling):  # a type of metrics, for code and for rows
        name = "rolling"

``cache.get("conversion")`` is ``Decimal("0.125")``, shown as 12.5 %; of nothing it is None, and not 0. A ratio becomes
stale when either of its parts does. A row of the metric type ``rolling`` with the properties ``{"key": "sign_ups",
"periods": 7, "function": "mean"}`` is a moving average of a week, for the past, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar, Literal

from django.utils import timezone

from kck_flow import (
    Cache,
    ChoiceParameter,
    IntegerParameter,
    Key,
    MetricType,
    On,
    Primer,
    Span,
    StringParameter,
)
from kck_flow.errors import DeclarationError

_FIELD = re.compile(r"\{(\w+)\}")


def number(key: str, value: Any, path: str = "") -> Decimal | None:
    """Return the number in a product's value: itself, of a stock or a flow its total, or what ``path`` leads to.

    Raises:
        ValueError: there is none.
    """
    found = value
    for step in (
        path.split(".") if path else ["value"] if isinstance(value, Mapping) and "value" in value else []
    ):
        if not isinstance(found, Mapping) or step not in found:
            raise ValueError(f"{key!r} has no {path or 'value'!r}: it is {value!r}.")
        found = found[step]
    if found is None:
        return None
    if isinstance(found, timedelta):
        return Decimal(str(found.total_seconds()))
    if isinstance(found, bool) or not isinstance(found, (int, float, Decimal)):
        raise ValueError(f"{key!r} is no number{f' at {path!r}' if path else ''}: it is {found!r}.")
    return Decimal(str(found))


class Ratio(Primer):
    """One product divided by another; None where either is missing, or the second is zero.

    Attributes:
        of, to: Their keys; ``{name}`` in them is a parameter of this one.
        of_path, to_path: What leads to the number in a value that is a dict, such as ``facets.plan.pro``.
    """

    of: ClassVar[str] = ""
    to: ClassVar[str] = ""
    of_path: ClassVar[str] = ""
    to_path: ClassVar[str] = ""

    def __init__(self) -> None:
        for name in ("of", "to"):
            text = getattr(self, name)
            if not isinstance(text, str) or not text:
                raise DeclarationError(f"{name} is {text!r}: name a product by its key")
        self.depends_on = [
            *self.depends_on,
            *(On(text.partition("/")[0]) for text in dict.fromkeys((self.of, self.to))),
        ]
        super().__init__()
        known = [one.name for one in self.parameters]
        for name in _FIELD.findall(self.of + self.to):
            if name not in known:
                raise DeclarationError(f"{{{name}}} is no parameter of it ({', '.join(known) or 'none'})")

    def part(self, text: str, key: Key) -> str:
        """Return the key of one of its parts."""
        # As they are spelled in this one's key, a "/" within them included.
        spelled = dict(zip((one.name for one in self.parameters), key.split("/")[1:], strict=False))
        return text.format_map(spelled)

    def compute(self, key: Key) -> Decimal | None:
        of, to = (self.part(text, key) for text in (self.of, self.to))
        held = Cache.get_instance().get_many([of, to])
        above, below = number(of, held[of], self.of_path), number(to, held[to], self.to_path)
        return above / below if above is not None and below else None


class Percentage(Ratio):
    """One product as a share of another: 0.25 is a quarter, shown as 25 %."""

    number_format = "percent"


class Funnel(Primer):
    """How much went through each of some flows within the last days, today included, and what share that is of the step
    before.

    ``[{"step": "signing_up", "count": 120, "of_first": 1.0, "of_before": 1.0, "complete": True}, …]``. What is counted
    is what moved, not who: somebody who signs up today and pays in a month is in the first step of today's funnel.
    A step is not complete where its flow was not counted, or missed some, on one of the days.

    Attributes:
        steps: Keys of flows, in their order.
        days: How many days, of which today is one.
    """

    steps: ClassVar[Sequence[str]] = ()
    days: ClassVar[int] = 30
    soft_expire = timedelta(hours=1)
    columns = ("step", "count", "of_first", "of_before", "complete")

    def __init__(self) -> None:
        super().__init__()
        if not isinstance(self.steps, (list, tuple)) or len(self.steps) < 2:
            raise DeclarationError(f"steps is {self.steps!r}: name two flows or more, in their order")
        if not isinstance(self.days, int) or self.days < 1:
            raise DeclarationError(f"days is {self.days!r}: give a number of days")

    def compute(self, key: Key) -> list[dict[str, Any]]:
        now = timezone.now()
        today = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
        cache = Cache.get_instance()
        rows: list[dict[str, Any]] = []
        for step in self.steps:
            points = cache.series(step, today - timedelta(days=self.days - 1), now)
            known = [point.value for point in points if point.value is not None]
            count = sum(known) if known else None
            first, before = (rows[0]["count"], rows[-1]["count"]) if rows else (count, count)
            rows.append(
                {
                    "step": step,
                    "count": count,
                    "of_first": share(count, first),
                    "of_before": share(count, before),
                    "complete": all(
                        point.value is not None and (point.complete or point.end > now) for point in points
                    ),
                }
            )
        return rows


def share(part: int | None, whole: int | None) -> Decimal | None:
    """Return a part of a whole; None where either is missing, or the whole is zero."""
    return Decimal(part) / Decimal(whole) if part is not None and whole else None


class Rolling(MetricType):
    """The mean, sum, smallest or largest number of the last periods of another metric, the one measured included.

    The other may be a flow, whose windows are then as long as the periods. None where one of them is missing: an
    average over what happens to be there is another number.
    """

    name = "rolling"
    rollup = "last"
    properties = [
        StringParameter("key"),
        IntegerParameter("periods", default=7),
        ChoiceParameter("function", ["mean", "sum", "min", "max"], default="mean"),
    ]

    def measure(
        self, *, span: Span, key: str, periods: int, function: Literal["mean", "sum", "min", "max"]
    ) -> Decimal | None:
        length = span.end - span.start
        # Months are not all as long, nor days where clocks change: what is too much is left out again.
        since = span.start - length * periods * 1.15 - timedelta(hours=3)
        points = Cache.get_instance().series(key, since, span.end)
        if points and (points[-1].start, points[-1].end) != (span.start, span.end):
            raise ValueError(f"{key!r} is told by other periods than those of this metric.")
        values = [number(key, one.value) for one in points[-periods:]]
        known = [one for one in values if one is not None]
        if len(known) < periods:
            return None
        if function == "mean":
            return sum(known, Decimal(0)) / len(known)
        return (
            sum(known, Decimal(0)) if function == "sum" else min(known) if function == "min" else max(known)
        )
