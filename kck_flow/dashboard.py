"""Dashboard: a page of products, in order; Panel: a piece of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

from .errors import DeclarationError
from .parameter import Parameter, parameters
from .primer import where
from .windows import UNITS

# How a panel shows its product; "auto" is what fits its kind.
SHOWS: Final = ("auto", "number", "line", "bars", "flows", "diagram", "table", "value", "coverage")
OPTIONS: Final[Mapping[str, str]] = {
    "title": "a text, instead of the product's label",
    "by": f"a step: {', '.join(UNITS)}",
    "last": "how many steps, such as 30",
    "facet": "the name of a facet to split by",
    "compare": "previous, year or none",
    "goal": "a number to be reached",
    "wide": "true: over the whole width",
}
_COMPARE: Final = ("previous", "year", "none")
# What can show a kind of product ("auto" is the first), and which options each has beside "title" and "wide".
_SERIES: Final = ("number", "line", "bars", "table", "value")
_FITS: Final[Mapping[str, tuple[str, ...]]] = {
    "process": ("diagram", "flows", "table"),
    "frame": (*_SERIES, "coverage"),
}
_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "number": ("by", "last", "compare", "goal"),
    "line": ("by", "last", "compare", "goal", "facet"),
    "bars": ("by", "last", "goal", "facet"),
    "table": ("by", "last", "compare", "facet"),
    "value": (),
    "diagram": ("by", "last", "facet"),
    "flows": ("by", "last"),
    "coverage": ("by", "last"),
}


class Panel:
    """A piece of a dashboard: one product, and how it is shown.

    Args:
        key: A key, or a key base whose parameters the dashboard has by the same names. ``{name}`` in it is a parameter
            of the dashboard.
        show: ``number, line, bars, table, value``; of a time frame ``coverage``, too; of a process ``diagram, flows,
            table``. What fits the product where not given: a number, of a process its diagram.
        options: ``title``; ``by`` and ``last``, a range of its own instead of the page's; ``compare``; ``facet``, to
            split it by; ``goal``; ``wide``, over the whole width.

    Raises:
        DeclarationError: there is no such way to show it, or no such option.
    """

    def __init__(self, key: Any, show: str = "auto", **options: Any) -> None:
        named = getattr(key, "key_base", "") or getattr(key, "key", "") if isinstance(key, type) else key
        if not isinstance(named, str) or not named:
            raise DeclarationError(f"A panel shows a product: give its key or its primer, not {key!r}.")
        if show not in SHOWS:
            near = difflib.get_close_matches(str(show), SHOWS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DeclarationError(
                f"Panel({named!r}): show is one of {', '.join(SHOWS)}, not {show!r}.{hint}"
            )
        for name, said in wrong_options(options).items():
            raise DeclarationError(f"Panel({named!r}): {name}: {said}")
        self.key = named
        self.show = show
        self.options = dict(options)

    def __repr__(self) -> str:
        return f"Panel({self.key!r}, {self.show!r})"


class Section:
    """A heading, and the panels below it."""

    def __init__(self, title: Any, panels: Sequence[Any]) -> None:
        self.title = title
        self.panels = [one if isinstance(one, Panel) else Panel(one) for one in panels]


class Dashboard:
    """A page of products. Subclass it in an app's ``primers.py``; its address is ``dashboards/<slug>``.

    Attributes:
        slug: The name in its address.
        label, description: For people; the first line of the docstring where there is no label.
        panels: Panels, keys, primers or sections, in order.
        parameters: Parameters, as of a primer: a page for each of their values, ``dashboards/<slug>/<value>``.
        permission: Who may see it, besides what they may see of each product: ``"public"``, ``"authenticated"``,
            ``"staff"``, a permission of Django's, or a function of (user, action, dashboard). None:
            ``KCK_FLOW["PERMISSION"]``.
        position: Among the dashboards.
    """

    slug: ClassVar[str] = ""
    label: Any = ""
    description: Any = ""
    panels: Sequence[Any] = ()
    parameters: Any = ()
    permission: Any = None
    position: int = 0

    def __init__(self) -> None:
        self.parameters: tuple[Parameter[Any], ...] = parameters(type(self).parameters)
        self.sections: list[Section] = list(_sections(self.panels))

    @property
    def text(self) -> str:
        """What it is called by people."""
        doc = (type(self).__doc__ or "").strip().partition("\n")[0].rstrip(".")
        own = doc if type(self).__doc__ is not Dashboard.__doc__ else ""
        return str(self.label or own or self.slug)

    def where(self) -> str:
        """Return ``file:line`` of the declaration."""
        return where(type(self))


def _sections(listed: Sequence[Any]) -> Iterator[Section]:
    """Yield what is listed as sections: panels that stand between two belong to one without a title."""
    loose: list[Any] = []
    for one in listed:
        if isinstance(one, Section):
            if loose:
                yield Section("", loose)
                loose = []
            yield one
        else:
            loose.append(one)
    if loose:
        yield Section("", loose)


def wrong_options(given: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for each option of a panel that is unknown or wrong, by name."""
    found: dict[str, str] = {}
    for name, value in given.items():
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            found[name] = f"a panel has no option {name!r}.{hint} It has: {', '.join(OPTIONS)}."
        elif (
            (name == "by" and value not in UNITS)
            or (
                name == "last"
                and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000)
            )
            or (name == "compare" and value not in _COMPARE)
            or (name in ("title", "facet") and not isinstance(value, str))
            or (name == "wide" and not isinstance(value, bool))
            or (name == "goal" and (isinstance(value, bool) or not isinstance(value, (int, float, Decimal))))
        ):
            found[name] = f"{value!r} is none: give {OPTIONS[name]}."
    return found


def show_of(kind: str, show: str) -> str:
    """Return how a kind of product is shown.

    Args:
        kind: ``process``, ``frame``, or any other.
        show: As the panel says it; ``auto`` is what fits.

    Raises:
        ValueError: that does not show this kind of product.
    """
    fits = _FITS.get(kind, _SERIES)
    if show == "auto":
        return fits[0]
    if show not in fits:
        named = {"process": "A process", "frame": "A time frame"}.get(kind, "This product")
        raise ValueError(f"{named} is shown as {', '.join(fits)}; not as {show!r}.")
    return show


def idle_options(show: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for each option that a panel has no use for, shown as it is (not ``auto``), by name."""
    takes = ("title", "wide", *_TAKES[show])
    return {
        name: f"{name} means nothing where a product is shown as {show}, which has: {', '.join(takes)}."
        for name in given
        if name in OPTIONS and name not in takes
    }
