"""Every kind of chart on one page, to be looked at: ``python tools/gallery.py gallery.html``.

Light and dark, as wide as a page and as wide as a phone, and as pictures that stand alone. The page has the policy that
the charts are made for: no style, no script but its own.
"""

from __future__ import annotations

import base64
import math
import random
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kck_flow.drawing import palette
from kck_flow.drawing.charts import (
    Coverage,
    Span,
    State,
    bars,
    coverage,
    gains_and_losses,
    goal_bar,
    lines,
    multiples,
    sparkline,
)
from kck_flow.drawing.sheet import Annotation, Goal, Series, Sheet
from kck_flow.drawing.summary import summary
from kck_flow.entry import Point

ZONE = ZoneInfo("Europe/Paris")
FIRST = datetime(2026, 6, 1, tzinfo=ZONE)
THEMES: tuple[palette.Theme, ...] = ("light", "dark")
Values = Callable[[int], float | int | None]


def days(
    values: Values, number: int = 30, *, first: datetime = FIRST, redefined: int | None = None
) -> list[Point]:
    """Return a point for each day, the last in progress; from day ``redefined`` on of another generation."""
    starts = [
        datetime.combine((first + timedelta(days=at)).date(), first.timetz()) for at in range(number + 1)
    ]
    return [
        Point(
            starts[at].astimezone(UTC),
            starts[at + 1].astimezone(UTC),
            values(at),
            at < number - 1,
            None if redefined is None else int(at >= redefined),
        )
        for at in range(number)
    ]


def walk(seed: int, mean: float, swing: float, trend: float = 0.0) -> Values:
    """Return whole numbers with the rhythm of a week."""
    chance = random.Random(seed)
    noise = [chance.gauss(0, swing / 3) for _ in range(800)]
    return lambda at: max(
        0, round(mean + trend * at + swing * math.sin(at * math.tau / 7 + seed) + noise[at % len(noise)])
    )


def without(values: Values, *missing: int) -> Values:
    """Return values, but none on some days."""
    return lambda at: None if at in missing else values(at)


def hours(number: int, seed: int) -> list[Point]:
    """Return a noisy point for each hour, with two spikes and a gap."""
    chance = random.Random(seed)
    start, level = datetime(2025, 5, 1, tzinfo=UTC), 400.0
    points = []
    for at in range(number):
        level += chance.gauss(0, 6) + (400 - level) * 0.004
        value = (
            None
            if 6100 < at < 6300
            else round(level + (700 if at in (2500, 8100) else 0) + 60 * math.sin(at / 24), 1)
        )
        begin = start + timedelta(hours=at)
        points.append(Point(begin, begin + timedelta(hours=1), value, at < number - 1))
    return points


NOTES = (
    Annotation(FIRST + timedelta(days=15, hours=9), "price change"),
    Annotation(FIRST + timedelta(days=5), "incident", FIRST + timedelta(days=7, hours=12)),
)
SIGN_UPS = days(without(walk(1, 40, 12), 9, 10, 20))
CONVERTED = days(walk(3, 18, 3, 0.9))
CHURNED = days(walk(5, 9, 3))


def frames() -> list[Coverage]:
    """Return streams in every state."""
    start = datetime(2026, 6, 29, 12, tzinfo=UTC)

    def stream(name: str, *stretches: tuple[int, State]) -> Coverage:
        at, spans = start, []
        for minutes, state in stretches:
            spans.append(Span(at, at + timedelta(minutes=minutes), state))
            at += timedelta(minutes=minutes)
        return Coverage(name, spans)

    return [
        stream("orders", (900, "complete"), (45, "gap"), (450, "complete"), (45, "in progress")),
        stream(
            "payments",
            (200, "back-filling"),
            (500, "complete"),
            (160, "late"),
            (520, "complete"),
            (60, "in progress"),
        ),
        stream("page views", (1200, "complete"), (1, "gap"), (199, "complete"), (40, "in progress")),
    ]


def charts(width: int, theme: palette.Theme | None, mark: str) -> Iterator[tuple[str, str]]:
    """Yield a heading and a picture for each kind."""

    def sheet(name: str, height: int = 260, wide: int = width, description: str = "") -> Sheet:
        return Sheet(
            id=f"{mark}-{name}",
            title=name,
            description=description,
            width=wide,
            height=height,
            theme=theme,
            tab_stop=True,
            zone=ZONE,
        )

    told = summary("Sign-ups per day", SIGN_UPS, zone=ZONE)
    yield (
        told,
        lines([Series("Sign up", SIGN_UPS)], sheet("one", description=told), goal=Goal(50, "goal 50 a day")),
    )
    yield (
        "Flows over time, with a goal and annotations",
        lines(
            [Series("Sign up", SIGN_UPS), Series("Convert", CONVERTED), Series("Churn", CHURNED)],
            sheet("three"),
            goal=Goal(50, "goal 50 a day"),
            annotations=NOTES,
        ),
    )
    level = walk(8, 4200, 30, 9)
    earlier = walk(9, 4000, 40, 8)
    yield (
        "A stock, redefined on 18 June, beside the 30 days before; told afterwards until 8 June",
        lines(
            [
                Series(
                    "Active",
                    days(lambda at: (level(at) or 0) + (180 if at >= 17 else 0), redefined=17),
                    reconstructed=[FIRST + timedelta(days=at) for at in range(7)],
                ),
                Series("30 days before", days(earlier, first=FIRST - timedelta(days=30)), compares=True),
            ],
            sheet("stock"),
            zero=False,
        ),
    )
    yield (
        "Gains and losses",
        gains_and_losses(
            [Series("Sign up", SIGN_UPS), Series("Come back", days(walk(11, 6, 3)))],
            [Series("Churn", days(walk(12, 14, 5))), Series("Expire", days(walk(13, 12, 4)))],
            Series("Net", days(lambda at: None if at in (9, 10, 20) else (walk(1, 40, 12)(at) or 0) - 24)),
            sheet("gains", 300),
            annotations=NOTES[:1],
        ),
    )
    yield (
        "Bars, stacked and beside each other",
        bars(
            [
                Series("Free", days(walk(21, 30, 9), 14)),
                Series("Plus", days(walk(22, 16, 5), 14)),
                Series("Pro", days(walk(23, 8, 3), 14)),
            ],
            sheet("stacked"),
            stacked=True,
        )
        + bars(
            [
                Series("This week", days(without(walk(31, 30, 12), 2), 7)),
                Series("The week before", days(lambda at: 0 if at == 4 else walk(32, 26, 10)(at), 7)),
            ],
            sheet("grouped", 200),
            goal=Goal(35, "goal 35"),
        ),
    )
    yield (
        "Ten thousand hours × 2",
        lines(
            [
                Series("Requests", hours(10_000, 1)),
                Series(
                    "Jobs",
                    [
                        Point(
                            p.start, p.end, None if p.value is None else round(p.value * 0.45, 1), p.complete
                        )
                        for p in hours(10_000, 2)
                    ],
                ),
            ],
            sheet("dense"),
        ),
    )
    names = ("France", "Germany", "Spain", "Italy", "Poland", "Sweden", "Portugal", "Belgium", "Other")
    yield (
        "By country",
        multiples(
            [Series(name, days(walk(40 + at, 44 / (at + 1) + 6, 5))) for at, name in enumerate(names)],
            sheet("many"),
        ),
    )
    yield "Coverage", coverage(frames(), sheet("coverage"))
    yield (
        "Eight series on few pixels",
        lines(
            [Series(f"Plan number {at}", days(walk(60 + at, 12 * at + 6, 4), 20)) for at in range(8)],
            sheet("eight", 280),
        ),
    )
    yield (
        "One point; no point",
        lines([Series("Lonely", days(lambda at: 7, 1))], sheet("lonely", 130))
        + lines([Series("None", [])], sheet("none", 130)),
    )


def tiles(theme: palette.Theme | None, mark: str) -> str:
    """Return tiles with a number, a bar towards a goal and a sparkline."""
    written = []
    for at, (name, values, number, aim) in enumerate(
        (
            ("Active", walk(8, 4200, 30, 9), "4,408", 4500),
            ("Sign-ups", without(walk(1, 40, 12), 9, 10, 20), "42", None),
            ("Churn", walk(5, 7, 3), "7", 5),
            ("First reply", without(walk(6, 50, 20), *range(12)), "55", None),
        )
    ):
        points = days(values)
        sheet = Sheet(
            id=f"{mark}-tile-{at}", title=name, width=160, height=36, theme=theme, surface="raised", zone=ZONE
        )
        bar = ""
        if aim:
            latest = points[-1].value
            bar = goal_bar(
                latest,
                aim,
                Sheet(id=f"{mark}-goal-{at}", title=f"{latest} of {aim}", width=160, height=6, theme=theme),
            )
        written.append(f'<div class="tile"><b>{name}</b><p>{number}</p>{bar}{sparkline(points, sheet)}</div>')
    return f'<div class="tiles">{"".join(written)}</div>'


STYLE = """
body{margin:0;font:15px/1.5 system-ui,sans-serif} main{display:flex;flex-wrap:wrap;align-items:flex-start}
section{background:var(--kck-surface);color:var(--kck-ink);padding:24px}
.page{width:720px} .phone{width:360px;padding:15px}
h2{font-size:15px;font-weight:600;margin:26px 0 8px} svg,img{display:block;height:auto} svg+svg,img+img{margin-top:14px}
svg:focus-visible{outline:2px solid var(--kck-focus);outline-offset:4px}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:12px} .phone .tiles{grid-template-columns:1fr 1fr}
.tile{background:var(--kck-raised);border:1px solid var(--kck-grid);border-radius:8px;padding:12px;display:grid;gap:6px}
.tile p{margin:0;font-size:26px;line-height:1.2}
"""


def alone(svg: str) -> str:
    """Return pictures as files that a page refers to."""
    return "".join(
        f'<img alt="" src="data:image/svg+xml;base64,{base64.b64encode(f"{each}</svg>".encode()).decode()}">'
        for each in svg.split("</svg>")
        if each
    )


def page(only: str = "") -> str:
    """Return the whole page; ``only``: one section of it."""
    sections = []
    for kind, width in (("page", 720), ("phone", 360)):
        for theme in THEMES:
            mark = f"{kind}-{theme}"
            parts = "".join(f"<h2>{heading}</h2>{svg}" for heading, svg in charts(width, None, mark))
            sections.append(
                (mark, f'<section class="{kind}" data-theme="{theme}">{tiles(None, mark)}{parts}</section>')
            )
    for theme in THEMES:
        mark = f"alone-{theme}"
        parts = "".join(f"<h2>{heading}</h2>{alone(svg)}" for heading, svg in charts(720, theme, mark))
        sections.append((mark, f'<section class="page" data-theme="{theme}">{parts}</section>'))
    body = "".join(section for mark, section in sections if not only or mark == only)
    policy = "default-src 'none'; style-src 'nonce-gallery'; img-src data:"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Charts</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style nonce="gallery">{palette.css()}{STYLE}</style>'
        f"<main>{body}</main>"
    )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    Path(sys.argv[1]).write_text(page(*sys.argv[2:3]))
    print(f"Written: {sys.argv[1]}")
