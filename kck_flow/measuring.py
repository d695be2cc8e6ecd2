"""Types of metrics that every project has: rows counted, numbers added up, products remembered, shares of two."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.db.models import Avg, Max, Min, Sum

from . import key as keys
from .cache.facade import Cache
from .metric import MetricType, Span
from .parameter import (
    BooleanParameter,
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    Parameter,
    StringParameter,
)
from .registry import registry
from .stock import Flow


class JSONParameter(Parameter[Any]):
    """A JSON object, such as ``{"is_staff": true}``."""

    expected = 'a JSON object, such as {"is_staff": true}'

    def parse(self, text: str) -> Any:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError
        return found

    def clean(self, value: Any) -> Any:
        return self.from_text(value if isinstance(value, str) else self.to_text(value))

    def to_text(self, value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    def to_json(self, value: Any) -> Any:
        return value


class NameOfModel(Parameter[str]):
    """A model of the project by its label, such as ``shop.Order``."""

    expected = "a model, such as shop.Order"

    def parse(self, text: str) -> str:
        return str(apps.get_model(text)._meta.label)


class CountRows(MetricType):
    """How many rows of a model match a filter.

    With ``at``, the name of a column of instants: those of the period, also of one that is over. Without: those that
    are there now.
    """

    name = "count_rows"
    properties = [
        NameOfModel("model"),
        JSONParameter("filter", default={}),
        JSONParameter("exclude", default={}),
        StringParameter("at", default=""),
    ]

    def answers_for_the_past(self, **properties: Any) -> bool:
        return bool(properties["at"])

    def measure(
        self, span: Span, *, model: str, filter: Mapping[str, Any], exclude: Mapping[str, Any], at: str
    ) -> int:
        return int(_rows(span, model, filter, exclude, at).count())


class Aggregate(MetricType):
    """A sum, average, smallest or largest value of a column, over the rows of a model that match a filter.

    ``at`` as for ``count_rows``. None where there is no row; a sum is then zero.
    """

    name = "aggregate"
    properties = [
        NameOfModel("model"),
        ChoiceParameter("function", ["sum", "avg", "min", "max"]),
        StringParameter("column"),
        JSONParameter("filter", default={}),
        JSONParameter("exclude", default={}),
        StringParameter("at", default=""),
    ]

    def answers_for_the_past(self, **properties: Any) -> bool:
        return bool(properties["at"])

    def measure(
        self,
        *,
        span: Span,
        model: str,
        function: str,
        column: str,
        filter: Mapping[str, Any],
        exclude: Mapping[str, Any],
        at: str,
    ) -> Any:
        asked = {"sum": Sum, "avg": Avg, "min": Min, "max": Max}[function](column)
        found = _rows(span, model, filter, exclude, at).aggregate(found=asked)["found"]
        return 0 if found is None and function == "sum" else found


class ProductNumber(MetricType):
    """The number of another product, remembered: a stock, a flow, or any product that is a number.

    ``path`` leads to it within a product that is a dict, such as ``facets.plan.pro``. Flows answer for the past.
    """

    name = "product"
    properties = [StringParameter("key"), StringParameter("path", default="")]

    def answers_for_the_past(self, **properties: Any) -> bool:
        return (
            isinstance(registry.primers.get(keys.base_of(properties["key"])), Flow) and not properties["path"]
        )

    def measure(self, *, span: Span, key: str, path: str) -> Any:
        cache = Cache.get_instance()
        if self.answers_for_the_past(key=key, path=path):
            counts = [point.value for point in cache.series(key, span.start, span.end)]
            return sum(counts) if counts and None not in counts else None  # before it was captured: no zero
        return number_in(key, cache.get(key), path)


class Share(MetricType):
    """One product as a share of another, or of both together: 0.25 is a quarter, shown as 25 %.

    ``of`` is ``"whole"`` (the second is what the first is a part of) or ``"both"`` (of their sum). None where that is
    zero.
    """

    name = "share"
    number_format = "percent"
    properties = [
        StringParameter("key"),
        StringParameter("base"),
        StringParameter("path", default=""),
        StringParameter("base_path", default=""),
        ChoiceParameter("of", ["whole", "both"], default="whole"),
    ]

    def measure(self, *, key: str, base: str, path: str, base_path: str, of: str) -> Decimal | None:
        held = Cache.get_instance().get_many([key, base])
        part, whole = number_in(key, held[key], path), number_in(base, held[base], base_path)
        if part is None or whole is None:
            return None
        part, whole = Decimal(part), Decimal(whole)
        whole = whole + part if of == "both" else whole
        return part / whole if whole else None


class Fake(MetricType):
    """A made-up number, for demonstrations: the same seed and period make the same one.

    ``level`` is where it begins, in 2020; ``growth`` by what share of it it grows a year; ``weekly`` how much less it
    is at weekends; ``spread`` how far it strays, in shares of the level; ``whole``: whether it is an int.
    """

    name = "fake"
    properties = [
        IntegerParameter("seed", default=1),
        FloatParameter("level"),
        FloatParameter("growth", default=0.0),
        FloatParameter("weekly", default=0.0),
        FloatParameter("spread", default=0.1),
        BooleanParameter("whole", default=True),
    ]

    def measure(
        self, *, span: Span, seed: int, level: float, growth: float, weekly: float, spread: float, whole: bool
    ) -> Any:
        chance = random.Random(f"{seed} {level} {span.start.timestamp():.0f}")
        years = (span.start.timestamp() - _SINCE) / 31_557_600
        usual = level * (1 + growth * years) * (1 - weekly * (span.start.weekday() >= 5))
        found = max(usual + level * spread * chance.gauss(0, 1), 0.0)
        return round(found) if whole else Decimal(f"{min(found, 1.0) if level <= 1 else found:.4f}")


_SINCE = 1_577_836_800.0  # the first second of 2020

ALL = (CountRows, Aggregate, ProductNumber, Share, Fake)


def number_in(key: str, value: Any, path: str = "") -> Any:
    """Return the number in a product's value: itself; of a stock or flow its total; of a dict, what ``path`` leads to.

    Raises:
        ValueError: there is none.
    """
    steps = path.split(".") if path else ["value"] if isinstance(value, Mapping) and "value" in value else []
    found = value
    for step in steps:
        if not isinstance(found, Mapping) or step not in found:
            raise ValueError(f"{key!r} has no {path or 'value'!r}: it is {value!r}.")
        found = found[step]
    if found is not None and (isinstance(found, bool) or not isinstance(found, (int, float, Decimal))):
        raise ValueError(f"{key!r} is no number{' at ' + repr(path) if path else ''}: it is {found!r}.")
    return found


def _rows(span: Span, model: str, filter: Mapping[str, Any], exclude: Mapping[str, Any], at: str) -> Any:
    rows = apps.get_model(model)._base_manager.filter(**filter)
    if exclude:
        rows = rows.exclude(**exclude)
    return rows.filter(**{f"{at}__gte": span.start, f"{at}__lt": span.end}) if at else rows
