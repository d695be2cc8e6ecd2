"""Dashboards: pages of panels, as a project declares them or stores them as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from django.utils.translation import gettext as _

from .. import key as keys
from ..dashboard import Dashboard, Panel, show_of
from ..errors import InvalidKey, KckFlowError
from ..key import Key
from ..permission import VIEW, allows, may
from ..registry import registry
from . import members, pieces, tiles
from .captions import captions, kind_of
from .pages import Page, short
from .pieces import Ask, Piece
from .ranges import Range

# More than these on one page are read by nobody; the lists have them all.
MOST_TILES: Final = 200


class Run(NamedTuple):
    """Panels that follow each other, all small or none."""

    are_tiles: bool
    pieces: list[Piece]


@dataclass
class Group:
    """A section: its title, and its panels in order."""

    title: str
    runs: list[Run] = field(default_factory=list)


def page(declared: Dashboard, params: Mapping[str, Any], user: Any, over: Range) -> Page:
    """Return a dashboard, as a user may see it; products that the user may not see are counted, not shown.

    Args:
        params: Of the dashboard, typed, by name.
    """
    hidden = set()
    asks: list[Ask] = []
    titles: list[str] = []
    problems: list[str] = []
    for section in declared.sections:
        for panel in section.panels:
            try:
                key = key_of(panel, params)
                show_of(kind_of(registry.primers.get(key.key_base)), panel.show)
            except (KckFlowError, ValueError) as error:
                staff = getattr(user, "is_staff", False)
                problems.append(str(error) if staff else _("A panel of this page cannot be shown."))
                continue
            if not may(user, VIEW, key):
                hidden.add(key)
                continue
            asks.append(pieces.asked(panel, key, over))
            titles.append(str(section.title))
    every, asks = len(asks), asks[:MOST_TILES]
    made = pieces.read(asks, over, user, captions(dict.fromkeys(one.key for one in asks)))
    for one in made:
        if one.tile is not None and over.end > over.now and not one.range_text and not one.tile.note:
            one.tile.rows_href = members.rows_href(one.key, user)
    groups = _grouped(titles, made)
    worst, sentence = tiles.freshness(list({one.key: one.shown for one in made}.values()))
    found = Page(
        "dashboard.html",
        declared.text,
        columns=tiles.ROW,
        rows=[_row(title, one) for title, one in zip(titles, made, strict=False)],
        meta={
            **over.told(),
            "panels": [
                {"key": short(one.key), "show": one.show, "options": dict(ask.options)}
                for ask, one in zip(asks, made, strict=True)
            ],
        },
        context={
            "groups": groups,
            "hidden": len(hidden),
            "worst": worst,
            "sentence": sentence,
            "description": str(declared.description),
            "problems": problems,
        },
        modified=max((one.shown.computed_at for one in made if one.shown.computed_at), default=None),
        facts=[worst, len(hidden), problems, [_told(one) for one in made if one.tile is None]],
        keys=list(dict.fromkeys(key for one in made for key in (one.key, *one.keys))),
        guard=lambda user: allows(declared.permission, user, VIEW, declared),
    )
    say_cut(found, every)
    return found


def _grouped(titles: Sequence[str], made: Sequence[Piece]) -> list[Group]:
    """Return panels by their sections, which follow each other."""
    groups: list[Group] = []
    for title, one in zip(titles, made, strict=False):
        if not groups or groups[-1].title != title:
            groups.append(Group(title))
        runs = groups[-1].runs
        if not runs or runs[-1].are_tiles != one.is_tile:
            runs.append(Run(one.is_tile, []))
        runs[-1].pieces.append(one)
    return groups


def _row(section: str, made: Piece) -> dict[str, Any]:
    """Return a panel as JSON and CSV have it: its product's number over its range."""
    tile = made.tile or tiles.tile(made.shown, made.trend, made.over, made.href)
    return tiles.row(section, tile, (made.shown, tile, made.trend), made.over)


def _told(made: Piece) -> list[Any]:
    """Return what a panel shows besides its number: when it changes, the page has."""
    points = [(one.start.isoformat(), one.value, one.complete) for one in made.trend.points]
    rows = made.table.rows if made.table is not None else ()
    told = [made.label, made.show, made.note, made.sentence, made.value, made.ways, made.books]
    return [*told, points, rows, made.facts]  # what is drawn of others is in their points


def say_cut(page: Page, number: int) -> None:
    """Say on a page how many of its products are left out, where they are too many."""
    page.context |= {"cut": max(number - MOST_TILES, 0), "most": MOST_TILES}
    page.meta["cut"] = page.context["cut"]


def key_of(panel: Panel, params: Mapping[str, Any]) -> Key:
    """Return the key that a panel shows on a dashboard with some parameters.

    Raises:
        UnknownPrimer, InvalidKey: there is no such product.
    """
    if panel.key in registry.primers:
        primer = registry.primers[panel.key]
        own = {one.name: params[one.name] for one in primer.parameters if one.name in params}
        return primer.build_key(**own)
    try:
        named = {name: keys.escape(str(value)) for name, value in params.items()}
        text = panel.key.format_map(named) if "{" in panel.key else panel.key
    except (KeyError, ValueError, IndexError) as error:
        raise InvalidKey(f"{panel!r}: its dashboard has no parameter {error}.") from None
    key = registry.key(text)
    registry.primer(key.key_base)
    return key
