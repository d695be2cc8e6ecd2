"""Bars and lines as numbers, for a template to draw: no markup, no colours, nothing left to be rounded."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One bar. Coordinates are SVG user units, as text, so that no locale gets at them."""

    x: str
    y: str
    width: str
    height: str
    middle: str
    above: str
    label: str
    value: str
    title: str


def bars(
    shares: Sequence[tuple[str, float, str]],
    *,
    width: float,
    height: float,
    gap: float = 0.25,
    percent: bool = True,
) -> list[Bar]:
    """Return one bar for each ``(label, share, title)``, the highest as high as the picture.

    Args:
        shares: Left to right; between 0 and 1, said in percent above the bar; or, without ``percent``, numbers.
        width, height: Of the picture.
        gap: Between two bars, as a share of a bar and its gap.
    """
    top = max((share for _, share, _ in shares), default=0) or 1
    step = width / max(1, len(shares))
    return [
        Bar(
            x=f"{step * (place + gap / 2):.1f}",
            y=f"{height * (1 - share / top):.1f}",
            width=f"{step * (1 - gap):.1f}",
            height=f"{height * share / top:.1f}",
            middle=f"{step * (place + 0.5):.1f}",
            above=f"{height * (1 - share / top) - 5:.1f}",
            label=label,
            value=f"{100 * share:.0f}" if percent else f"{share:,.0f}",
            title=title,
        )
        for place, (label, share, title) in enumerate(shares)
    ]


def line(values: Sequence[float], *, width: float, height: float, margin: float = 2) -> str:
    """Return the ``points`` of a polyline through ``values``: zero at the bottom, the highest at the top."""
    top = max(values, default=0) or 1
    step = (width - 2 * margin) / max(1, len(values) - 1)
    return " ".join(
        f"{margin + step * place:.1f},{height - margin - (height - 2 * margin) * value / top:.1f}"
        for place, value in enumerate(values)
    )
