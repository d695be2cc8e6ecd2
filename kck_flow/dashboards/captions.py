"""What a product is called, counted in and meant to do: the words around its number."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import get_language

from .. import wording
from ..decorators import Action
from ..errors import NotPrimed
from ..key import Key
from ..memo import Memo, Same
from ..metric import Metric
from ..primer import Primer
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from ..timeframe import TimeFrame
from ..topic import Topic

KINDS = ("stock", "flow", "process", "metric", "frame", "topic", "action", "product", "by hand")
_FAMILIES: tuple[tuple[type[Primer], str], ...] = (
    (Stock, "stock"),
    (Flow, "flow"),
    (Process, "process"),
    (Metric, "metric"),
    (TimeFrame, "frame"),
    (Topic, "topic"),
)


@dataclass(frozen=True, slots=True)
class Caption:
    """The words around a product's number.

    Attributes:
        key: Of the product.
        kind: One of ``KINDS``.
        label, description, section: For people; ``section`` is empty where it stands in none.
        unit, unit_plural: Singular and plural; empty for none.
        good: Which direction is: ``up``, ``down`` or ``neither``.
        goal: The aim, a number or None.
        form: How the number is shown: ``number, percent, duration, bytes``.
        precision: Digits behind the point, or None.
        rollup: How the numbers of several steps make one: ``last``, ``sum`` or ``mean``.
        primer: Its declaration, or None; of a metric that is a row, what its row says.
    """

    key: Key
    kind: str
    label: str
    description: str
    section: str
    unit: str
    unit_plural: str
    good: str
    goal: Any
    form: str
    precision: int | None
    rollup: str
    primer: Primer | None

    def number(self, value: Any, *, sign: bool = False) -> str:
        """Return a number of this product as people read it, without its unit."""
        return wording.number(value, self.form, self.precision, sign=sign)

    def unit_of(self, value: Any) -> str:
        """Return the unit that goes with a number."""
        return wording.unit(value, self.unit, self.unit_plural)

    def with_unit(self, value: Any) -> str:
        """Return a number with its unit: ``1 account``, ``4,391 accounts``, ``50 %``."""
        unit = self.unit_of(value) if value is not None else ""
        return f"{self.number(value)}{wording.NBSP}{unit}" if unit else self.number(value)

    def tone(self, direction: str) -> str:
        """Return whether a change in a direction (``up``, ``down``, ``same``) is ``good``, ``bad`` or ``neutral``."""
        if direction not in ("up", "down") or self.good == "neither":
            return "neutral"
        return "good" if direction == self.good else "bad"


_known: Memo[Caption] = Memo(2048)


def kind_of(primer: Primer | None) -> str:
    """Return what kind of product a primer declares."""
    if primer is None:
        return "by hand"
    if isinstance(primer, Action):
        return "action"
    return next((kind for family, kind in _FAMILIES if isinstance(primer, family)), "product")


def caption(key: Key) -> Caption:
    """Return the words around a product's number."""
    return captions([key])[key]


def captions(keys: Iterable[Key], told: Mapping[Key, Primer] | None = None) -> dict[Key, Caption]:
    """Return the words around the numbers of several products; of metrics that are rows, with one statement.

    Args:
        told: What all of them are measured by, where that has been read.
    """
    asked = list(keys)
    language = get_language()
    if told is not None:
        return {key: _remembered(key, told[key], language) for key in asked}
    rows: dict[Key, Primer] = {}
    families = {key.key_base for key in asked}
    for base in families:
        primer = registry.primers.get(base)
        if isinstance(primer, Metric) and primer.stored_as_rows:
            rows.update(primer.of_many([key for key in asked if key.key_base == base]))
    return {key: _remembered(key, rows.get(key) or _own(key), language) for key in asked}


def _own(key: Key) -> Primer | None:
    primer = registry.primers.get(key.key_base)
    if isinstance(primer, Metric):
        try:
            return primer.of(key)
        except NotPrimed:
            return primer
    return primer


def _remembered(key: Key, primer: Primer | None, language: str | None) -> Caption:
    """Return the words of a product: for as long as they are the same, the same object."""
    family = registry.primers.get(key.key_base)
    if isinstance(family, Metric) and family.stored_as_rows:
        # Of a row that says something else, it is another object.
        return _known.get((key, language), (Same(primer), Same(family)), lambda: _caption(key, primer))
    made = _caption(key, primer)
    return _known.get((key, language), (made,), lambda: made)


def _caption(key: Key, primer: Primer | None) -> Caption:
    kind = kind_of(registry.primers.get(key.key_base))
    if primer is None:
        return Caption(key, kind, str(key), "", "", "", "", "neither", None, "number", None, "last", None)
    label = primer.text
    params = [
        primer_parameter_text(one, key.params[one.name])
        for one in primer.parameters
        if one.name in key.params and key.params[one.name] is not None
    ]
    if params and not (isinstance(primer, Metric) and registry.primers[key.key_base] is not primer):
        label = f"{label} ({', '.join(params)})"
    rollup = primer.rolled_up if isinstance(primer, Metric) else "sum" if isinstance(primer, Flow) else "last"
    return Caption(
        key, kind, label, description_of(primer), str(primer.section), str(primer.unit), str(primer.unit_plural),
        primer.good, primer.goal, primer.number_format, primer.precision, rollup, primer,
    )  # fmt: skip


def primer_parameter_text(parameter: Any, value: Any) -> str:
    """Return a parameter's value as it is read."""
    return str(value) if value == "" or isinstance(value, str) else str(parameter.to_text(value))


def description_of(primer: Primer) -> str:
    """Return the definition in a sentence: what it says of itself, else what its docstring does."""
    if primer.description:
        return str(primer.description)
    own = (base for base in type(primer).__mro__[:-1] if not base.__module__.startswith("kck_flow."))
    told = next((inspect.cleandoc(base.__doc__) for base in own if base.__doc__), "")
    told = told.replace("``", "")  # marks of reStructuredText, which people need not read
    return "" if told.rstrip(".") == primer.text else told  # what the heading says need not be said again


def retitled(found: Caption, title: str) -> Caption:
    """Return a caption under another name."""
    return replace(found, label=title)
