"""What there is: dashboards, processes, metrics, products, time frames; each list as its user may see it."""

from __future__ import annotations

import base64
import difflib
import heapq
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _

from .. import configured, spread
from .. import key as keys
from ..dashboard import Dashboard
from ..decorators import Action
from ..errors import InvalidKey
from ..key import Key
from ..metric import Metric
from ..permission import VIEW, allows, may, may_none
from ..process import Process
from ..registry import registry
from ..stock import Flow
from ..store import dashboards as rows
from ..store import listings
from ..store.session import caller
from ..timeframe import TimeFrame
from . import reading, tiles
from .faces import Refused
from .pages import Page, address, href, short
from .ranges import Range

logger = logging.getLogger("kck_flow")

# Keys that are read at a time where a page's worth of them was not enough: most are somebody else's.
_BATCH = 2000

COLUMNS = (
    "key",
    "label",
    "kind",
    "value",
    "unit",
    "state",
    "computed_at",
    "next_refresh_at",
    "version",
    "href",
)
TITLES: Mapping[str, Any] = {
    "processes": "Processes",
    "metrics": "Metrics",
    "products": "Products",
    "frames": "Time frames",
}


# -- dashboards


def declared_dashboards() -> list[Dashboard]:
    """Return the dashboards of the code, and those that are stored as rows, in order."""
    found: dict[str, Dashboard] = {one.slug: one for one in rows.visible()}
    found.update(registry.dashboards)
    return sorted(found.values(), key=lambda one: (one.position, one.slug))


def dashboard_of(slug: str) -> Dashboard | None:
    """Return a dashboard, or None."""
    return registry.dashboards.get(slug) or rows.one(slug)


def seen_dashboards(user: Any) -> list[tuple[str, str]]:
    """Return (name, address) of the dashboards without parameters that a user may see."""
    return [
        (one.text, address("dashboards", one.slug))
        for one in declared_dashboards()
        if one.slug != "overview" and not one.parameters and allows(one.permission, user, VIEW, one)
    ]


def no_dashboard(slug: str, user: Any) -> str:
    """Return the sentence for a dashboard that is not there."""
    seen = [one.slug for one in declared_dashboards() if allows(one.permission, user, VIEW, one)]
    near = difflib.get_close_matches(slug, seen, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"No dashboard is called {slug!r}.{hint}"


def parameters_of(found: Dashboard, rest: str) -> dict[str, Any]:
    """Return the parameters of a dashboard that an address names.

    Raises:
        Refused: they do not fit.
    """
    try:
        key = keys.parse(f"{found.slug}/{rest}" if rest else found.slug, found.parameters)
    except InvalidKey as error:
        raise Refused(404, "Not found", str(error)) from None
    return dict(key.params)


def dashboards(user: Any) -> Page:
    """Return the list of the dashboards that a user may see."""
    seen = [one for one in declared_dashboards() if allows(one.permission, user, VIEW, one)]
    listed = [
        {
            "slug": one.slug,
            "label": one.text,
            "description": str(one.description),
            "parameters": [parameter.name for parameter in one.parameters],
            "href": address("dashboards", one.slug) if not one.parameters else None,
        }
        for one in seen
    ]
    return Page(
        "dashboards.html",
        _("Dashboards"),
        columns=("slug", "label", "description", "parameters", "href"),
        rows=listed,
        context={"listed": listed},
    )


# -- products


def is_stored(key: Key) -> bool:
    """Whether something is stored under a key that has no primer."""
    alias = spread.alias_of(registry.primers.get(key.key_base))
    return str(key) in listings.some(caller(alias), [key.digest])


def products(place: str, user: Any, over: Range, asked: str, limit: int, after: str) -> Page:
    """Return a list of products: those that stand alone, and those that are stored of the families that do not.

    Args:
        place: ``processes, metrics, products`` or ``frames``.
        asked: What their keys or labels are to have in them.
        after: From where on, as ``next`` of the page before says.
    """
    walk = _walk(place, user, asked.lower().split(), _read_after(after), limit + 1)
    listed = list(islice(walk, limit + 1))
    more = len(listed) > limit
    listed = listed[:limit]
    shown = reading.read(listed)
    # What is told of a range: of flows on every list, of metrics on their own, beside their pictures.
    ranged = [
        key
        for key in listed
        if isinstance(shown[key].caption.primer, Flow)
        or (place == "metrics" and shown[key].caption.kind == "metric")
    ]
    words = {key: shown[key].caption for key in ranged}
    trends = reading.trends(ranged, over, words, shown) if ranged else {}
    told = {
        key: tiles.tile(shown[key], trend, over, href(shown[key].caption, over.given))
        for key, trend in trends.items()
    }
    made = [
        _row(one) | ({"value": tiles.headline(one, trends[one.key], over)} if one.key in trends else {})
        for one in shown.values()
    ]
    worst, sentence = tiles.freshness(list(shown.values()))
    return Page(
        "products.html",
        str(_(TITLES[place])),
        columns=COLUMNS,
        rows=made,
        context={
            "listed": [
                {
                    "label": one.caption.label,
                    "key": short(one.key),
                    "kind": one.caption.kind,
                    "tile": told.get(one.key),
                    "number": f"{told[one.key].number} {told[one.key].unit}"
                    if one.key in told and not told[one.key].note
                    else one.caption.with_unit(one.number)
                    if one.number is not None
                    else tiles._other(one)
                    if one.has_value and one.bytes is not None
                    else "",
                    "state": one.state,
                    "chip": tiles.chip(one),
                    "age": one.age,
                    "due": one.due_in,
                    "href": href(one.caption, over.given),
                }
                for one in shown.values()
            ],
            "ranged": place == "metrics",
            "asked": asked,
            "total": len(listed) if not more and not after else None,
            "more_than": len(listed) if more and not after else None,
            "worst": worst,
            "sentence": sentence,
            "next_href": address(place, next=_after(listed[-1]), q=asked, limit=limit) if more else "",
        },
        modified=max(
            (one.computed_at for one in shown.values() if one.computed_at and one.version), default=None
        ),
        next=_after(listed[-1]) if more else None,
        facts=[
            [str(key), trend.before, [one.value for one in trend.points]] for key, trend in trends.items()
        ],
        keys=listed,
    )


def _walk(place: str, user: Any, words: Sequence[str], last: str, batch: int) -> Iterator[Key]:
    """Yield the keys of a list after the last one of the page before, in order, those that a user may see."""
    own = sorted(key for key in _alone(place) if str(key) > last and _matches(key, words))
    walks: list[Iterable[Key]] = [own]
    if place == "products":
        without = [
            base
            for base, primer in registry.primers.items()
            if isinstance(primer, Action) or may_none(user, VIEW, base)
        ]
        aliases = dict.fromkeys(spread.alias_of(primer) for primer in registry.unique())
        walks += [_stored(alias, words, without, last, batch) for alias in aliases]
    before = None
    for key in heapq.merge(*walks):
        if key != before and may(user, VIEW, key):
            yield key
        before = key


def _stored(
    alias: str, words: Sequence[str], without: Sequence[str], after: str, batch: int
) -> Iterator[Key]:
    """Yield keys of what a database has stored, in order, a page at a time."""
    having = [
        (word, [base for base, primer in registry.primers.items() if word in primer.text.lower()])
        for word in words
    ]
    while True:
        rows = listings.keys(caller(alias), after=after, words=having, without=without, limit=batch)
        for text, base in rows:
            try:
                yield registry.stored_key(text, base)
            except (
                InvalidKey
            ) as error:  # from before its parameters were changed: the others are listed all the same
                logger.warning("page.unreadable key=%s error=%r", text, error)
        if len(rows) < batch:
            return
        after, batch = rows[-1][0], _BATCH


def _alone(place: str) -> list[Key]:
    """Return the keys that a list has whether anything is stored or not."""
    configured.seen()
    found: list[Key] = []
    for primer in registry.unique():
        if isinstance(primer, Action):
            continue
        if place == "processes" and not isinstance(primer, Process):
            continue
        if place == "metrics" and not isinstance(primer, Metric):
            continue
        if place == "frames":
            if isinstance(primer, TimeFrame):
                size = next(iter(primer.sizes))
                found += [primer.series_key(params, size) for params in _products_of(primer)]
            continue
        if all(parameter.has_default for parameter in primer.parameters):
            found.append(primer.build_key())
        elif isinstance(primer, Metric) and not isinstance(primer.domain, str):
            found += _domain_of(primer)
    return found


def _domain_of(primer: Metric) -> list[Key]:
    try:
        return primer.domain_keys()
    except Exception as error:  # the others are listed all the same
        logger.warning("page.unreadable key=%s error=%r", primer.name, error)
        return []


def _products_of(primer: TimeFrame) -> Sequence[Mapping[str, Any]]:
    try:
        return primer.products()
    except Exception:  # its domain is broken, or a product: told by the checks and the planner
        return []


def _matches(key: Key, words: Sequence[str]) -> bool:
    primer = registry.primers.get(key.key_base)
    told = f"{key} {primer.text if primer is not None else ''}".lower()
    return all(word in told for word in words)


def _row(one: reading.Shown) -> dict[str, Any]:
    return {
        "key": short(one.key),
        "label": one.caption.label,
        "kind": one.caption.kind,
        "value": one.number,
        "unit": one.caption.unit_of(one.number) if one.number is not None else one.caption.unit,
        "state": one.state,
        "computed_at": one.computed_at.isoformat() if one.computed_at and one.version else None,
        "next_refresh_at": one.due_at.isoformat() if one.due_at else None,
        "version": one.version,
        "href": href(one.caption),
    }


def _after(key: Key) -> str:
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def _read_after(text: str) -> str:
    if not text:
        return ""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        raise Refused(
            400, "Bad parameter", f"next is what the page before said, not {text!r}.", parameter="next"
        ) from None
