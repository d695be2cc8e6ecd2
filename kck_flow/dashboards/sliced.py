"""A facet value of a stock or a flow: what an address asks for by ``facet.plan=pro``, or as a form says it,
``facet=plan=pro``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import ngettext

from ..cache import flows, past
from ..entry import Point
from ..errors import KckFlowError
from ..key import Key
from ..registry import registry
from ..stock import Flow, Stock
from . import reading
from .captions import Caption, retitled
from .members import as_text, facet_text
from .ranges import BadParameter, Range

MOST = 5  # values that are told apart in one picture: the rest is "others"


@dataclass(frozen=True)
class Slice:
    """One value of one facet.

    Attributes:
        name, label: The facet's name, and as people read it.
        text: The value as an address has it.
    """

    name: str
    label: str
    text: str

    @property
    def given(self) -> dict[str, str]:
        """Return it as the parameters of an address."""
        return {f"facet.{self.name}": self.text}

    def value(self, counts: Any) -> Any:
        """Return the value as it is stored, among those counted; its text where it is none of them."""
        found = counts if isinstance(counts, Mapping) else {}
        plain = {as_text(None): None, as_text(""): ""}.get(self.text, self.text)
        return next((one for one in found if as_text(one) == self.text), plain)

    def part(self, counts: Any) -> Any:
        """Return what a facet's counts have of it: 0 where it is not among them, None where nothing is known."""
        if not isinstance(counts, Mapping):
            return None
        return next((number for one, number in counts.items() if as_text(one) == self.text), 0)


def given(asked: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facet values that the parameters of an address name, (facet, value) each. An empty value is none:
    it is a form's "all".
    """
    found = [(name[6:], str(value)) for name, value in asked.items() if name.startswith("facet.")]
    if asked.get("facet"):
        name, _, value = str(asked["facet"]).partition("=")
        found.append((name, value))
    return list(dict.fromkeys((name, value) for name, value in found if value))


def asked_for(key: Key, asked: Mapping[str, Any]) -> Slice | None:
    """Return the facet value that an address asks for; None where it asks for none.

    Raises:
        BadParameter: the product has no such facet, or two are asked for.
    """
    found = given(asked)
    if not found:
        return None
    name, value = found[0]
    primer = registry.primers.get(key.key_base)
    facets = {one.name: one for one in primer.facets} if isinstance(primer, (Stock, Flow)) else {}
    if not facets:
        raise BadParameter("facet", f"{str(key)!r} has no facets.")
    if name not in facets:
        near = difflib.get_close_matches(name, facets, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BadParameter(
            "facet", f"{str(key)!r} has no facet {name!r}. Its facets are: {', '.join(facets)}.{hint}"
        )
    if len(found) > 1:
        raise BadParameter("facet", f"One facet at a time, and not {' and '.join(one for one, _ in found)}.")
    return Slice(name, str(facets[name].label), value)


def shown(whole: reading.Shown, one: Slice) -> reading.Shown:
    """Return a product as it is now, of one facet value: its number, and what it is called. A goal is the whole's."""
    facets = whole.value.get("facets") if isinstance(whole.value, Mapping) else None
    counts = facets.get(one.name) if isinstance(facets, Mapping) else None
    label = f"{whole.caption.label} · {one.label}: {facet_text(one.value(counts))}"
    caption = replace(retitled(whole.caption, label), goal=None)
    return replace(whole, caption=caption, number=one.part(counts))


def trend(of: reading.Shown, one: Slice, over: Range) -> reading.Trend:
    """Return a facet value over a range, beside the older one, as ``reading.trends`` does the whole."""
    words: Caption = of.caption
    found: Sequence[Point] | Exception
    try:
        found = points(_series(of.key, over, one.name), one)
    except (ValueError, KckFlowError) as error:
        found = error
    return reading.trend_of(words, found, over, of)


def _series(key: Key, over: Range, facet: str) -> Sequence[Point]:
    """Return a stock or a flow over a range and the one that it is compared with: its points' values are by facet
    value. Raises ValueError, KckFlowError.
    """
    primer = registry.primers.get(key.key_base)
    if isinstance(primer, Flow):
        return flows.series(key, primer, over.first, over.until, over.by, facet)
    assert isinstance(primer, Stock)
    return past.series(key, primer, over.first, over.until, reading.steps_of(over), facet)


def points(found: Sequence[Point], one: Slice) -> list[Point]:
    """Return the points of a facet as those of one of its values."""
    return [replace(point, value=one.part(point.value)) for point in found]


# -- all values of one facet


@dataclass(frozen=True)
class Named:
    """A facet: its name, and as people read it."""

    name: str
    label: str


@dataclass(frozen=True)
class Part:
    """One value of a facet over a range: in words, its number in all (of a stock: in the end), step by step."""

    text: str
    total: Any
    points: Sequence[Point]


def facet_of(primer: Any, name: Any) -> Named | None:
    """Return a facet of a stock, a flow or a process by its name; None where there is none."""
    if not isinstance(name, str) or primer is None or name not in registry.facets_of(primer):
        return None
    own = {one.name: str(one.label) for one in getattr(primer, "facets", ()) or ()}
    return Named(name, own.get(name, name))


def by_value(of: reading.Shown, name: str, over: Range) -> list[Part] | str:
    """Return a stock or a flow by the values of a facet, the largest first, those beyond ``MOST`` together; or why that
    is not known.
    """
    try:
        found = [one for one in _series(of.key, over, name) if one.end > over.start and one.start < over.end]
    except (ValueError, KckFlowError) as error:
        return str(error)
    if over.complete:
        found = [one for one in found if one.complete]
    held = of.caption.kind == "stock"
    counts = of.value.get("facets", {}).get(name) if isinstance(of.value, Mapping) else None
    if held and isinstance(counts, Mapping):
        # The step that lasts has what the stock holds now, as its number does.
        found = [
            replace(one, value=counts) if reading.is_in_progress(one, over.now) else one for one in found
        ]
    known = [one.value for one in found if isinstance(one.value, Mapping)]
    totals: dict[Any, Any] = {}
    for row in known[-1:] if held else known:
        for value, number in row.items():
            totals[value] = totals.get(value, 0) + (number or 0)
    ranked = sorted(totals, key=lambda value: (-totals[value], str(value)))
    parts = [
        Part(facet_text(value), totals[value], [_part(one, [value]) for one in found])
        for value in ranked[:MOST]
    ]
    others = ranked[MOST:]
    if others:
        text = ngettext("%(count)s other", "%(count)s others", len(others)) % {"count": len(others)}
        parts.append(
            Part(text, sum(totals[value] for value in others), [_part(one, others) for one in found])
        )
    return parts


def _part(point: Point, values: Sequence[Any]) -> Point:
    """Return what some values of a facet have of a point: None where that is not known."""
    if not isinstance(point.value, Mapping):
        return replace(point, value=None)
    return replace(point, value=sum(point.value.get(value) or 0 for value in values))


def choices(facets: Sequence[Mapping[str, Any]], chosen: Slice | None) -> list[dict[str, Any]]:
    """Return the facet values that a form offers: for each facet its ``label`` and ``values``, (what the form sends,
    what people read, whether it is chosen) each.

    Args:
        facets: As of ``known.facets_of``: the largest values; what is chosen is among the offered in any case.
    """
    found = []
    for facet in facets:
        values = []
        for row in facet["rows"]:
            for name, value in (row.get("is") or {}).items():
                text = as_text(value)
                here = chosen is not None and (chosen.name, chosen.text) == (name, text)
                values.append((f"{name}={text}", facet_text(value), here))
        if chosen is not None and chosen.name == facet["name"] and not any(here for *_, here in values):
            values.append((f"{chosen.name}={chosen.text}", facet_text(chosen.value(None)), True))
        found.append({"label": facet["name"], "values": values})
    return found
