"""Charts: sparkline, lines, bars, gains and losses, small multiples, coverage, a bar towards a goal.

Each takes points and a ``Sheet``, and returns SVG. What they keep to: None is neither zero nor bridged; what is not
complete is dashed or hollow; where the definition changes, the line breaks; a spike survives being drawn on few pixels;
and colour is never the only sign.
"""

from __future__ import annotations

from .bars import bars, gains_and_losses
from .coverage import Coverage, Span, State, coverage, goal_bar
from .lines import lines, multiples, sparkline
from .sheet import Annotation, Goal, Series, Sheet

__all__ = [
    "Annotation",
    "Coverage",
    "Goal",
    "Series",
    "Sheet",
    "Span",
    "State",
    "bars",
    "coverage",
    "gains_and_losses",
    "goal_bar",
    "lines",
    "multiples",
    "sparkline",
]
