"""A writer of SVG: elements as strings, escaped; numbers in their shortest form; how wide a text will be.

What it writes keeps a strict content security policy: presentation attributes alone, never a ``style`` or a script.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from .palette import Theme, colors

NAMESPACE = "http://www.w3.org/2000/svg"
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"

# Characters that XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile("[&<>\"'\t\n\r]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_ENTITIES |= {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}

# Hundredths of an em, of a font as wide as those of screens get (DejaVu Sans, Verdana): text never takes more.
_WIDTHS = {
    29: "'ijlI",
    32: " ,.·",
    36: "/:;\\|f-",
    41: "()[]t!r",
    56: '*_`–°szL?"c',
    64: "kFvxyPTYaoeESbdghnpqu$0123456789{}€",
    70: "KAVBRXZC",
    79: "UHNDG&OQ",
    86: "w#+<=>^~−×±M",
    100: "%mW@—…",
}
_WIDTH = {character: width for width, characters in _WIDTHS.items() for character in characters}
_BOLD = 1.1  # a bold text is so many times as wide


def number(value: float) -> str:
    """Return a coordinate to one decimal, in its shortest form: ``12``, ``0.5``, ``-3.2``."""
    text = f"{value:.1f}"
    if text.endswith(".0"):
        text = text[:-2]
    return "0" if text == "-0" else text


def escape(text: object) -> str:
    """Return a text as it is written in an attribute or between tags; what XML cannot say becomes U+FFFD."""
    written = str(text)
    if written.isascii() and written.isprintable() and _SPECIAL.search(written) is None:
        return written  # nearly all are colours and numbers
    return _SPECIAL.sub(lambda found: _ENTITIES[found[0]], _UNWRITABLE.sub("\ufffd", written))


def element(name: str, /, *children: str, **attributes: Any) -> str:
    """Return an element.

    Args:
        children: What stands within it, written already (see ``escape`` for text).
        attributes: By name, with ``_`` for ``-`` and a trailing ``_`` dropped (``class_``). Floats are rounded, None
            is left out, all else is escaped but for ``d``: paths are long, and made of numbers.
    """
    written = [
        f' {key.rstrip("_").replace("_", "-")}="{value if key == "d" else _attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    if not children:
        return f"<{name}{''.join(written)}/>"
    return f"<{name}{''.join(written)}>{''.join(children)}</{name}>"


def text(
    x: float,
    y: float,
    content: object,
    *,
    fill: str,
    size: float = 12,
    anchor: str = "start",
    bold: bool = False,
    halo: str | None = None,
    **attributes: Any,
) -> str:
    """Return a line of text.

    Args:
        x, y: Where it is anchored: ``start``, ``middle`` or ``end``, on its base line.
        halo: Colour of an outline that keeps it readable above lines.
    """
    if halo is not None:
        attributes |= {"stroke": halo, "stroke_width": 3, "stroke_linejoin": "round", "paint_order": "stroke"}
    return element(
        "text",
        escape(content),
        x=float(x),
        y=float(y),
        fill=fill,
        font_size=None if size == 12 else size,  # what the picture says, see ``picture``
        text_anchor=None if anchor == "start" else anchor,
        font_weight=600 if bold else None,
        **attributes,
    )


@lru_cache(4096)
def text_width(content: str, size: float = 12, *, bold: bool = False) -> float:
    """Return how wide a line of text is at most, whatever the font."""
    return sum(map(_hundredths, content)) * size / 100 * (_BOLD if bold else 1)


def fit(content: str, width: float, size: float = 12, *, bold: bool = False) -> str:
    """Return a text, cut with an ellipsis where it would be wider; empty where not even that has room."""
    if text_width(content, size, bold=bold) <= width:
        return content
    room = width * 100 / size / (_BOLD if bold else 1) - _WIDTH["…"]
    if room < 0:
        return ""
    for length, character in enumerate(content):
        room -= _hundredths(character)
        if room < 0:
            return content[:length].rstrip() + "…" if content[:length].rstrip() else ""
    return content


def path(points: Iterable[tuple[float, float]]) -> str:
    """Return the data of a path through points: ``M0 5L3 4L…``."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def picture(
    parts: Iterable[str],
    *,
    width: float,
    height: float,
    id: str,
    title: str,
    description: str = "",
    theme: Theme | None = None,
    surface: str = "surface",
    tab_stop: bool = False,
    data: Any = None,
    kind: str = "chart",
    named: bool = True,
) -> str:
    """Return a whole picture, with its name and its description for those who hear it.

    Args:
        parts: Its elements, written already.
        width, height: Its size, in its own units; within a page it grows and shrinks with what it stands in.
        id: Unique on the page; the ids of what it is named and described by begin with it.
        theme: Stands alone, in the colours of this theme; None: within a page that has ``palette.css()``.
        surface: The token of what it lies on.
        tab_stop: Whether Tab stops at it.
        data: What a script reads, as JSON in a ``metadata`` element.
        kind: Its class: ``kck-chart``.
        named: Whether it has a name; not where it stands within what has one, hidden from those who hear it.
    """
    head = [element("title", escape(title), id=f"{id}-title")] if named else []
    if description:
        head.append(element("desc", escape(description), id=f"{id}-desc"))
    if data is not None:
        written = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        head.append(element("metadata", _UNWRITABLE.sub("\ufffd", written).translate(_JSON)))
    if theme is not None:
        head.append(element("rect", width=float(width), height=float(height), fill=colors(theme)[surface]))
    size = number(width), number(height)
    return element(
        "svg",
        *head,
        *parts,
        xmlns=NAMESPACE,
        viewBox=f"0 0 {size[0]} {size[1]}",
        width="100%" if theme is None else size[0],
        height=None if theme is None else size[1],
        role="img" if named else None,
        id=id if named else None,
        class_=f"kck-{kind}",
        aria_labelledby=f"{id}-title" if named else None,
        aria_describedby=f"{id}-desc" if description else None,
        tabindex=0 if tab_stop else None,
        font_family=None if theme is None else FONTS,
        font_size=12,
    )


_JSON = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def _attribute(value: Any) -> str:
    return number(value) if isinstance(value, float) else escape(value)


@lru_cache(1024)
def _hundredths(character: str) -> float:
    known = _WIDTH.get(character)
    if known is not None:
        return known
    if unicodedata.combining(character):
        return 0
    wide = unicodedata.east_asian_width(character) in "WF" or ord(character) > 0x2190
    return 104 if wide or _UNWRITABLE.match(character) else 80
