"""What zooming into a chart takes: the numbers and instants of the table beside it, row by row."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..drawing.scales import drawn
from ..drawing.sheet import Annotation, Goal, Series
from ..drawing.table import aligned
from .ranges import Range

LINE, OLDER, BAR, UP, DOWN, NET = "line", "older", "bar", "up", "down", "net"


def points(
    series: Sequence[tuple[str, Series]],
    over: Range,
    *,
    form: str = "",
    goal: Goal | None = None,
    notes: Sequence[Annotation] = (),
) -> str:
    """Return a chart's numbers as JSON; empty where there is nothing to zoom into.

    Args:
        series: As the chart's table has them, each with how it is drawn: ``line, older, bar, up, down`` or ``net``.
        form: How the numbers are written: ``percent``, ``duration`` (seconds), or as they are.
        goal: A value at whose height a line lies.

    Returns:
        An object of ``zone``, ``by``, ``form``; ``at``, when each row begins, and ``end``, when the last one ends, in
        seconds since 1970; ``kinds`` and ``values``, one of each series, None in gaps; ``open``, of each series the
        first row that is in progress; ``goal``, as ``[value, text]``; and ``notes``, as ``[from, until or None,
        text]``.
    """
    rows = aligned([one for _kind, one in series])
    if len(rows) < 2:
        return ""
    values: list[list[float | None]] = [[] for _ in series]
    progress = [len(rows)] * len(series)
    for at, (_point, found) in enumerate(rows):
        for place, cell in enumerate(found):
            values[place].append(None if cell is None else drawn(cell[0].value))
            if cell is not None and cell[1]:
                progress[place] = min(progress[place], at)
    told = {
        "zone": str(over.zone),
        "by": over.by,
        "form": form,
        "at": [round(point.start.timestamp()) for point, _found in rows],
        "end": round(rows[-1][0].end.timestamp()),
        "kinds": [kind for kind, _series in series],
        "values": values,
        "open": progress,
        "goal": [drawn(goal.value), goal.label] if goal is not None else None,
        "notes": [
            [round(one.at.timestamp()), round(one.end.timestamp()) if one.end else None, one.text]
            for one in notes
        ],
    }
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)
