"""The overview: every product that stands alone as a tile, in sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from .. import configured
from ..errors import KckFlowError
from ..key import Key
from ..metric import Metric
from ..permission import VIEW, allows, may
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from . import declared, members, reading, tiles
from .captions import Caption, captions
from .pages import Page, href
from .ranges import Range
from .tiles import Tile


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
        return declared.page(own, {}, user, over)
    sections, words, hidden = groups(user)
    every = list(dict.fromkeys(key for _title, _process, keys in sections for key in keys))
    shown = _tiles(every[: declared.MOST_TILES], over, words, user)
    made = [
        Group(title, [shown[key][1] for key in keys if key in shown], _process_href(process, over))
        for title, process, keys in sections
    ]
    page = _page(made, shown, hidden, over)
    declared.say_cut(page, len(every))
    return page


def _process_href(text: str, over: Range) -> str:
    return href(captions([registry.key(text)])[registry.key(text)], over.given) if text else ""


def _tiles(
    keys: Sequence[Key],
    over: Range,
    words: Mapping[Key, Caption],
    user: Any,
) -> dict[Key, tuple[reading.Shown, Tile, reading.Trend]]:
    found = reading.read(keys, words)
    trends = reading.trends(keys, over, words, found)
    made = {}
    for key in keys:
        shown = found[key]
        one = tiles.tile(shown, trends[key], over, href(words[key], over.given))
        if over.end > over.now and not one.note:  # the number is that of now, and so are the rows
            one.rows_href = members.rows_href(key, user)
        made[key] = shown, one, trends[key]
    return made


def _page(
    made: Sequence[Group],
    shown: Mapping[Key, tuple[reading.Shown, Tile, reading.Trend]],
    hidden: int,
    over: Range,
) -> Page:
    products = [one for one, _tile, _trend in shown.values()]
    worst, sentence = tiles.freshness(products)
    rows = [tiles.row(group.title, one, shown[one.key], over) for group in made for one in group.tiles]
    return Page(
        "overview.html",
        _("Overview"),
        columns=tiles.ROW,
        rows=rows,
        meta=over.told(),
        context={
            "groups": [group for group in made if group.tiles],
            "hidden": hidden,
            "worst": worst,
            "sentence": sentence,
        },
        modified=max((one.computed_at for one in products if one.computed_at), default=None),
        facts=[worst, hidden],
        keys=list(shown),
    )
