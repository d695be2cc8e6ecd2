"""Colours by name, light and dark: the one source of what SVG and CSS are painted with.

A picture within a page names them as CSS custom properties, so that it follows the page's theme; one that stands alone
carries the colours of the theme that was asked for. Text tokens have a contrast of 6:1 or more against every surface
that text stands on, lines and marks 3:1 or more (`grid` and `shade` only decorate). The eight series are told apart
under each kind of colour blindness, and, since colour is never the only sign, by dash and marker, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Theme = Literal["light", "dark"]

LIGHT: Mapping[str, str] = {
    "surface": "#ffffff",  # the page
    "raised": "#f6f7f9",  # what lies on it: tiles, boxes
    "shade": "#edf0f5",  # a range that is marked within a chart
    "grid": "#e1e5eb",  # hair lines
    "border": "#7d8796",  # axes, edges of controls
    "ink": "#14181f",
    "muted": "#4d5664",
    "good": "#0b6532",
    "bad": "#a8122e",
    "neutral": "#4d5664",
    "goal": "#653a9b",
    "annotation": "#4d5664",
    "focus": "#1650cf",
    "series-1": "#0f4ccb",  # blue
    "series-2": "#d06c05",  # orange
    "series-3": "#2f9a8c",  # teal
    "series-4": "#63216f",  # plum
    "series-5": "#a15ff2",  # violet
    "series-6": "#6f6232",  # olive
    "series-7": "#0776a6",  # sea
    "series-8": "#8a0d1a",  # wine
}

DARK: Mapping[str, str] = {
    "surface": "#0f141b",
    "raised": "#171d26",
    "shade": "#1f2733",
    "grid": "#28313d",
    "border": "#707a89",
    "ink": "#eef1f6",
    "muted": "#a9b2c0",
    "good": "#5fd38a",
    "bad": "#ff8f9a",
    "neutral": "#a9b2c0",
    "goal": "#c9a6ff",
    "annotation": "#a9b2c0",
    "focus": "#68b0fe",
    "series-1": "#68b0fe",
    "series-2": "#fb7f24",
    "series-3": "#9cefb8",
    "series-4": "#c07ba2",
    "series-5": "#8079ea",
    "series-6": "#f3e03a",
    "series-7": "#3fe0fb",
    "series-8": "#f0a29c",
}

SURFACES = ("surface", "raised", "shade")
TEXTS = ("ink", "muted", "good", "bad", "neutral", "goal", "annotation")
SERIES = tuple(f"series-{number}" for number in range(1, 9))
LINES = ("border", "focus", *SERIES)

# What tells the series apart without colour, in the order of SERIES.
DASHES = ("", "", "", "", "7 3", "7 3", "7 3", "7 3")
MARKERS = ("circle", "square", "triangle", "diamond") * 2

_THEMES: Mapping[str, Mapping[str, str]] = {"light": LIGHT, "dark": DARK}
_INLINE: Mapping[str, str] = {name: f"var(--kck-{name})" for name in LIGHT}


def colors(theme: Theme | None = None) -> Mapping[str, str]:
    """Return what paints each token: colours of a theme, or (None) the custom properties of the page."""
    return _INLINE if theme is None else _THEMES[theme]


def css() -> str:
    """Return the custom properties as CSS: light, dark where the system prefers it, and whichever of both
    ``data-theme`` names, on the root element or any other.
    """
    dark = _rule(DARK, "dark")
    return (
        f":root{{{_rule(LIGHT, 'light')}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"[data-theme=light]{{{_rule(LIGHT, 'light')}}}\n"
        f"[data-theme=dark]{{{dark}}}\n"
    )


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (``#rrggbb``): 1 to 21.

    Source:
        Web Content Accessibility Guidelines 2.2, "contrast ratio" and "relative luminance".
    """
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    shares = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _rule(tokens: Mapping[str, str], scheme: Theme) -> str:
    return f"color-scheme:{scheme};" + ";".join(f"--kck-{name}:{color}" for name, color in tokens.items())
