"""A product's lineage: all that it is made of, and all that is made of it, as a picture and as a table."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.csrf import csrf_exempt

from .. import clock, wording
from ..cache import explaining
from ..cache.listed import servable, state_of
from ..drawing.lineage import Node, lineage
from ..key import Key
from ..permission import VIEW, may
from ..registry import registry
from ..store.refreshes import instant
from . import faces, known
from .captions import captions
from .pages import Page, href, short
from .views import frame_of, key_of
from .visitors import user_of

MOST = 60  # products in one picture, the nearest first
LOOKED_AT = 600  # of which it is asked whether the user may see them
FAR = 12  # steps that are followed


@csrf_exempt  # it changes nothing; what may not be done here is told as everything else is
def show_lineage(request: HttpRequest, key: str, face: str | None = None) -> HttpResponseBase:
    """What a product is made of, and what is made of it, whole."""
    user = user_of(request)
    return faces.respond(
        request,
        face,
        lambda asked: page(key_of(key, user, asked), user),
        frame=frame_of(request, "products"),
    )


def page(key: Key, user: Any) -> Page:
    """Return the lineage of a product, of those that a user may see: a row for each that needs another."""
    edges = explaining.lineage_edges(key, FAR)
    near = _nearest(str(key), edges)
    keys = {text: registry.key(text) for text in near[:LOOKED_AT]}
    shown = [text for text in keys if text == str(key) or may(user, VIEW, keys[text])]
    hidden = len(keys) - len(shown)
    left_out = len(near) - hidden - len(shown[:MOST])
    unseen = keys.keys() - set(shown)
    edges = [(one, other) for one, other in edges if one not in unseen and other not in unseen]
    sentence = _sentence(str(key), edges)
    shown = shown[:MOST]
    drawable = set(shown)
    edges = [(one, other) for one, other in edges if one in drawable and other in drawable]
    stored = known.stored_of([keys[text] for text in shown])
    words = captions([keys[text] for text in shown])
    now = clock.now()
    nodes, facts = [], []
    for text in shown:
        row, own = stored.get(text), words[keys[text]]
        state = state_of(row) if row is not None else "fresh"  # what is counted as it is asked for
        computed = instant(row.computed_at) if row is not None and servable(row) else None
        # When, and not how long ago: a picture stays as it is.
        told = wording.instant(computed, now) if computed is not None else ""
        spoken = f"{own.label}, {told}" if told else own.label
        if state != "fresh":
            told = " · ".join(part for part in (str(wording.STATES[state]), told) if part)
        nodes.append(Node(text, own.label, told, spoken, href(own) or None, state, text == str(key)))
        facts.append([text, own.label, state, computed])
    label = words[key].label
    drawn: dict[str, Any] = {
        "id": f"l{key.digest.hex[:10]}",
        "title": _("Lineage of %(label)s") % {"label": label},
        "description": sentence,
        "translate": _,
    }
    return Page(
        "lineage.html",
        _("Lineage of %(label)s") % {"label": label},
        columns=("needed", "by"),
        rows=[{"needed": short(keys[one]), "by": short(keys[other])} for one, other in edges],
        meta={"key": str(key), "products": len(shown), "left_out": left_out},
        context={
            "sentence": sentence,
            "picture_svg": lineage(nodes, edges, **drawn) if len(nodes) > 1 else "",
            "back": href(words[key]),
            "back_label": label,
            "listed": [
                (
                    words[keys[one]].label,
                    href(words[keys[one]]),
                    words[keys[other]].label,
                    href(words[keys[other]]),
                )
                for one, other in edges
            ],
            "hidden": hidden,
            "left_out": left_out,
        },
        picture=lambda theme, _width: lineage(nodes, edges, theme=theme, **drawn),  # type: ignore[arg-type]
        facts=[facts, hidden, left_out, sentence],
        keys=[keys[text] for text in shown],
    )


def _nearest(key: str, edges: list[tuple[str, str]]) -> list[str]:
    """Return what hangs together with a product, the nearest first."""
    beside: dict[str, list[str]] = {}
    for one, other in edges:
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    found, edge = {key: None}, [key]
    while edge:
        edge = [
            one
            for one in dict.fromkeys(other for name in edge for other in beside.get(name, ()))
            if one not in found
        ]
        found.update(dict.fromkeys(edge))
    return list(found)


def _sentence(key: str, edges: list[tuple[str, str]]) -> str:
    """Return how many products it needs, and how many need it, at whatever distance."""
    above, below = (_reached(key, edges, up=up) for up in (True, False))
    needs = ngettext("It needs %(count)s product", "It needs %(count)s products", above) % {
        "count": wording.number(above)
    }
    feeds = ngettext("%(count)s needs it", "%(count)s need it", below) % {"count": wording.number(below)}
    return f"{needs}; {feeds}."


def _reached(key: str, edges: list[tuple[str, str]], *, up: bool) -> int:
    steps: dict[str, list[str]] = {}
    for one, other in edges:
        steps.setdefault(other if up else one, []).append(one if up else other)
    found: set[str] = set()
    edge = {key}
    while edge:
        edge = {one for name in edge for one in steps.get(name, ())} - found - {key}
        found |= edge
    return len(found)
