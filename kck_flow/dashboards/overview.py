"""The overview and the dashboards: sections of tiles, and panels of every kind of product."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from .. import configured
from ..dashboard import Dashboard, Panel
from ..errors import KckFlowError
from ..key import Key
from ..metric import Metric
from ..permission import VIEW, allows, may
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from . import members, reading, tiles
from .captions import Caption, captions, retitled
from .pages import Page, href, short
from .ranges import Range
from .tiles import Tile

# More than these on one page are read by nobody; the lists have them all.
MOST_TILES = 200


@dataclass
class Group:
    """A section of a page: its title, its tiles, where it leads to."""

    title: str
    tiles: list[Tile] = field(default_factory=list)
    href: str = ""


def groups(user: Any) -> tuple[list[tuple[str, str, list[Key]]], dict[Key, Caption], int]:
    """Return the sections of the overview, (title, key of a process or empty, keys) each, in declared order; the words
    of their products; and how many a user may not see.

    A process is a section of its stocks and flows. Then come metrics by their sections, stocks and flows that stand in
    no process, and what names a section itself. What needs parameters to be said has its dashboards.
    """
    hidden = 0
    configured.seen()
    found: list[tuple[str, str, list[Key]]] = []
    words: dict[Key, Caption] = {}
    taken: set[str] = set()
    for process in _declared(Process):
        if not _alone(process):
            continue
        try:
            stocks, flows = registry.parts(process)
        except KckFlowError:
            continue  # told by the checks
        keys = [one.build_key() for one in (*stocks, *flows) if _alone(one)]
        taken.update(one.name for one in (*stocks, *flows))
        seen = [key for key in keys if may(user, VIEW, key)]
        hidden += len(keys) - len(seen)
        words |= captions(seen)
        if seen:
            found.append((process.text, str(process.build_key()), seen))
    sections: dict[str, list[Key]] = {}
    for primer in registry.primers.values():
        if primer.name in taken or isinstance(primer, Process):
            continue
        told = None
        if isinstance(primer, Metric):
            told = primer.all_told() if primer.stored_as_rows or not primer.parameters else {}
            keys = list(told)
        elif (isinstance(primer, (Stock, Flow)) or primer.section) and _alone(primer):
            keys = [primer.build_key()]
        else:
            continue
        taken.add(primer.name)
        words |= captions(keys, told)
        for key in keys:
            if not may(user, VIEW, key):
                hidden += 1
                continue
            fallback = _("Metrics") if isinstance(primer, Metric) else _("Counts")
            sections.setdefault(words[key].section or fallback, []).append(key)
    by_title = {title: keys for title, process, keys in found if process}
    for title, keys in sections.items():
        if title in by_title:
            by_title[title].extend(keys)
        else:
            found.append((title, "", keys))
    return found, words, hidden


def _declared(kind: type[Any]) -> Iterable[Any]:
    """Return the primers of a kind, each once, in declared order."""
    return dict.fromkeys(primer for primer in registry.primers.values() if isinstance(primer, kind))


def _alone(primer: Any) -> bool:
    """Whether a product can be said without parameters."""
    return all(parameter.has_default for parameter in primer.parameters)


def overview(user: Any, over: Range) -> Page:
    """Return the overview, as a user may see it."""
    own = registry.dashboards.get("overview")
    if own is not None and allows(own.permission, user, VIEW, own):
        return dashboard(own, {}, user, over)
    sections, words, hidden = groups(user)
    every = list(dict.fromkeys(key for _title, _process, keys in sections for key in keys))
    shown = _tiles(every[:MOST_TILES], over, words, user)
    made = [
        Group(title, [shown[key][1] for key in keys if key in shown], _process_href(process, over))
        for title, process, keys in sections
    ]
    page = _page("overview.html", _("Overview"), made, shown, hidden, over, "")
    _say_cut(page, len(every))
    return page


def _say_cut(page: Page, number: int) -> None:
    """Say on a page how many of its products are left out, where they are too many."""
    page.context |= {"cut": max(number - MOST_TILES, 0), "most": MOST_TILES}
    page.meta["cut"] = page.context["cut"]


def _process_href(text: str, over: Range) -> str:
    return href(captions([registry.key(text)])[registry.key(text)], over.given) if text else ""


def _tiles(
    keys: Sequence[Key],
    over: Range,
    words: Mapping[Key, Caption],
    user: Any,
    options: Mapping[Key, Panel] | None = None,
) -> dict[Key, tuple[reading.Shown, Tile, reading.Trend]]:
    found = reading.read(keys, words)
    trends = reading.trends(keys, over, words, found)
    made = {}
    for key in keys:
        shown = found[key]
        panel = (options or {}).get(key)
        if panel is not None and panel.options.get("title"):
            shown.caption = retitled(shown.caption, str(panel.options["title"]))
        one = tiles.tile(shown, trends[key], over, href(words[key], over.given))
        if over.end > over.now and not one.note:  # the number is that of now, and so are the rows
            one.rows_href = members.rows_href(key, user)
        made[key] = shown, one, trends[key]
    return made


def _page(
    template: str,
    title: str,
    made: Sequence[Group],
    shown: Mapping[Key, tuple[reading.Shown, Tile, reading.Trend]],
    hidden: int,
    over: Range,
    description: str,
) -> Page:
    products = [one for one, _tile, _trend in shown.values()]
    worst, sentence = tiles.freshness(products)
    rows = [tile_row(group.title, one, shown[one.key], over) for group in made for one in group.tiles]
    return Page(
        template,
        title,
        columns=ROW,
        rows=rows,
        meta=range_meta(over),
        context={
            "groups": [group for group in made if group.tiles],
            "hidden": hidden,
            "worst": worst,
            "sentence": sentence,
            "description": description,
        },
        modified=max((one.computed_at for one in products if one.computed_at), default=None),
        facts=[worst, hidden],
        keys=list(shown),
    )


ROW = (
    "section", "key", "label", "kind", "value", "unit", "state", "computed_at", "before", "change", "direction", "tone",
    "goal",
)  # fmt: skip


def tile_row(
    section: str, made: Tile, shown: tuple[reading.Shown, Tile, reading.Trend], over: Range
) -> dict[str, Any]:
    """Return a tile as JSON and CSV have it."""
    one, _tile, trend = shown
    value = tiles.headline(one, trend, over)
    known = trend.before is not None and value is not None
    return {
        "section": section,
        "key": short(one.key),
        "label": made.label,
        "kind": one.caption.kind,
        "value": value,
        "unit": one.caption.unit_of(value),
        "state": one.state,
        "computed_at": one.computed_at.isoformat() if one.computed_at and one.version else None,
        "before": trend.before if known else None,
        "change": made.change or None,
        "direction": made.direction or None,
        "tone": made.tone or None,
        "goal": one.caption.goal,
    }


def range_meta(over: Range) -> dict[str, Any]:
    """Return what JSON says of the range."""
    before = over.before()
    return {
        "from": over.start.astimezone(over.zone).isoformat(),
        "to": over.end.astimezone(over.zone).isoformat(),
        "by": over.by,
        "zone": over.zone.key,
        "compare": over.compare,
        "compared_from": before[0].astimezone(over.zone).isoformat() if before else None,
        "compared_to": before[1].astimezone(over.zone).isoformat() if before else None,
    }


def dashboard(declared: Dashboard, params: Mapping[str, Any], user: Any, over: Range) -> Page:
    """Return a dashboard, as a user may see it; products that the user may not see are counted, not shown.

    Args:
        params: Of the dashboard, typed, by name.
    """
    hidden = 0
    panels: dict[Key, Panel] = {}
    sections: list[tuple[str, list[Key]]] = []
    problems: list[str] = []
    for section in declared.sections:
        keys: list[Key] = []
        for panel in section.panels:
            try:
                key = key_of(panel, params)
            except KckFlowError as error:
                staff = getattr(user, "is_staff", False)
                problems.append(str(error) if staff else _("A panel of this page cannot be shown."))
                continue
            if not may(user, VIEW, key):
                hidden += 1
                continue
            panels.setdefault(key, panel)
            keys.append(key)
        sections.append((str(section.title), keys))
    every = len(panels)
    panels = dict(list(panels.items())[:MOST_TILES])
    shown = _tiles(list(panels), over, captions(panels), user, panels)
    made = [Group(title, [shown[key][1] for key in keys if key in shown]) for title, keys in sections]
    for key, panel in panels.items():
        shown[key][1].wide = bool(panel.options.get("wide"))
    page = _page("overview.html", declared.text, made, shown, hidden, over, str(declared.description))
    page.context["problems"] = problems
    _say_cut(page, every)
    page.facts = [page.facts, problems]
    page.guard = lambda user: allows(declared.permission, user, VIEW, declared)
    return page


def key_of(panel: Panel, params: Mapping[str, Any]) -> Key:
    """Return the key that a panel shows on a dashboard with some parameters.

    Raises:
        UnknownPrimer, InvalidKey: there is no such product.
    """
    if panel.key in registry.primers:
        primer = registry.primers[panel.key]
        own = {one.name: params[one.name] for one in primer.parameters if one.name in params}
        return primer.build_key(**own)
    text = (
        panel.key.format_map({name: str(value) for name, value in params.items()})
        if "{" in panel.key
        else panel.key
    )
    key = registry.key(text)
    registry.primer(key.key_base)
    return key
