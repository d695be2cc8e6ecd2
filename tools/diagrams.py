"""Every kind of stock-and-flow diagram on one page, to be looked at: ``python tools/diagrams.py diagrams.html``.

Light and dark, wide and as on a phone, with pipes as wide as they are strong, and as the command line prints them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kck_flow.drawing import palette
from kck_flow.drawing.diagram import diagram as drawn
from kck_flow.drawing.diagram import sentences
from kck_flow.drawing.parts import Box, End, Pipe
from kck_flow.drawing.text import picture


class Story(NamedTuple):
    """A process as someone might declare it."""

    title: str
    boxes: list[Box]
    pipes: list[Pipe]


def stock(name: str, label: str, value: str, change: str = "", state: str = "fresh") -> Box:
    """Return a stock with an address."""
    return Box(name, label, value, change, f"/flow/stocks/{name}", state)


def flow(
    name: str,
    label: str,
    count: int | None,
    sources: Sequence[End] | End,
    sinks: Sequence[End] | End,
    state: str = "fresh",
) -> Pipe:
    """Return a flow with an address; ``sources`` and ``sinks`` are names, or lists of them."""
    ends = [[one] if one is None or isinstance(one, str) else list(one) for one in (sources, sinks)]
    return Pipe(
        name,
        label,
        "–" if count is None else f"{count:,}",
        count,
        ends[0],
        ends[1],
        f"/flow/flows/{name}",
        state,
    )


STORIES = {
    "subscriptions": Story(
        "Subscriptions",
        [
            stock("trial", "Trial", "318", "+40 this period"),
            stock("active", "Active", "4,391", "+283 this period"),
            stock("churned", "Churned", "935", "+135 this period"),
        ],
        [
            flow("sign_up", "Sign up", 1320, None, "trial"),
            flow("convert", "Convert", 418, "trial", "active"),
            flow("churn", "Churn", 174, "active", "churned"),
            flow("come_back", "Come back", 39, "churned", "active"),
            flow("expire", "Expire", 862, "trial", None),
        ],
    ),
    "flights": Story(
        "Flights",
        [
            stock("scheduled", "Scheduled", "1,204"),
            stock("departed", "Departed", "312"),
            stock("arrived", "Arrived", "318,902"),
            stock("cancelled", "Cancelled", "8,255"),
            stock("diverted", "Diverted", "717"),
        ],
        [
            flow("plan", "Plan", 336_776, None, "scheduled"),
            flow("depart", "Depart", 328_063, "scheduled", "departed"),
            flow("arrive", "Arrive", 327_034, "departed", "arrived"),
            flow("cancel", "Cancel", 8255, "scheduled", "cancelled"),
            flow("divert", "Divert", 717, "departed", "diverted"),
        ],
    ),
    "desk": Story(
        "Support desk",
        [
            stock("new", "New", "12", "−3 today"),
            stock("open", "Open", "87", "+5 today"),
            stock("waiting", "Waiting for customer", "41", "+1 today", "stale"),
            stock("solved", "Solved", "2,310", "+64 today"),
            stock("reopened", "Reopened", "9", "+2 today"),
        ],
        [
            flow("ask", "Ask", 71, None, "new"),
            flow("take", "Take", 74, "new", "open"),
            flow("answer", "Answer", 66, "open", "waiting"),
            flow("hear", "Hear back", 31, "waiting", "open"),
            flow("solve", "Solve", 64, "waiting", "solved"),
            flow("reopen", "Reopen", 6, "solved", "reopened"),
            flow("resume", "Resume", 4, "reopened", "open"),
            flow("close", "Close for good", 59, "solved", None),
            flow("spam", "Spam", 3, "new", None),
        ],
    ),
    "orders": Story(
        "Order fulfilment",
        [
            stock("placed", "Placed", "214", "+12"),
            stock("paid", "Paid", "96", "−4"),
            stock("picking", "Being picked", "58", "+3"),
            stock("backorder", "On back-order", "17", "+2"),
            stock("packed", "Packed", "33", "0"),
            stock("shipped", "Shipped", "402", "+31"),
            stock("delivered", "Delivered", "18,220", "+1,204"),
            stock("returned", "Returned", "88", "+9"),
            stock("refunded", "Refunded", "1,310", "+71"),
            stock("cancelled", "Cancelled", "640", "+22"),
        ],
        [
            flow("place", "Place", 1402, None, "placed"),
            flow("pay", "Pay", 1380, "placed", "paid"),
            flow("pick", "Pick", 1377, "paid", "picking"),
            flow("lack", "Run out of stock", 64, "picking", "backorder"),
            flow("restock", "Restock", 62, "backorder", "picking"),
            flow("pack", "Pack", 1310, "picking", "packed"),
            flow("ship", "Ship", 1308, "packed", "shipped"),
            flow("deliver", "Deliver", 1275, "shipped", "delivered"),
            flow("lose", "Lose in the post", 2, "shipped", None),
            flow("send_back", "Send back", 80, "delivered", "returned"),
            flow("refund", "Refund", 71, "returned", "refunded"),
            flow("put_back", "Put back on the shelf", 60, "returned", "picking"),
            flow("cancel", "Cancel", 22, ["placed", "paid"], "cancelled"),
            flow("archive", "Archive", 1100, "delivered", None),
        ],
    ),
    "shop": Story(
        "Open orders of shop 7",
        [
            stock("open", "Open orders of shop 7", "1,204", "+8 since Monday"),
            stock("done", "Done", "88,120", "+930 since Monday", "failed"),
            stock("held", "Held", "–", state="empty"),
        ],
        [
            flow("by_card", "Paid by card", 610, "open", "done"),
            flow("by_invoice", "Paid by invoice", 320, "open", "done", "stale"),
            flow("hold", "Hold", None, "open", "held", "empty"),
            flow("release", "Release", None, "held", "open", "empty"),
            flow("web", "From the web", 800, None, "open"),
            flow("phone", "By telephone", 138, None, "open"),
            flow("correct", "Correct an address", 12, "open", "open"),
            flow("archive", "Archive", 412, "done", None),
        ],
    ),
    "accounts": Story(
        "Accounts: flows with several ends",
        [
            stock("trial", "Trial", "318", "+40"),
            stock("active", "Active", "4,391", "+283"),
            stock("paused", "Paused", "120", "−4"),
            stock("churned", "Churned", "935", "+135"),
            stock("blocked", "Blocked", "4"),
        ],
        [
            flow("sign_up", "Sign up", 1320, None, ["trial", "active"]),
            flow("convert", "Convert", 418, "trial", "active"),
            flow("pause", "Pause", 33, "active", "paused"),
            flow("resume", "Resume", 37, "paused", "active"),
            flow("cancel", "Cancel", 174, ["trial", "active", "paused"], "churned"),
            flow("win_back", "Win back", 39, "churned", ["active", "trial"]),
            flow("delete", "Delete account", 11, ["trial", "churned"], None),
            flow("renew", "Renew", 3100, "active", "active"),
        ],
    ),
    "hiring": Story(
        "Hiring",
        [
            stock("applied", "Applied", "640", "+48"),
            stock("interview", "In interviews", "71", "+6"),
            stock("test", "Taking a test", "23", "+1"),
            stock("offered", "Offered", "9", "−2"),
            stock("hired", "Hired", "212", "+14"),
            stock("pool", "Talent pool", "1,480", "+120"),
        ],
        [
            flow("apply", "Apply", 910, None, "applied"),
            flow("invite", "Invite", 120, "applied", "interview"),
            flow("test", "Ask for a test", 64, "applied", "test"),
            flow("talk", "Talk it over", 40, "test", "interview"),
            flow("offer", "Make an offer", 21, "interview", "offered"),
            flow("accept", "Accept", 14, "offered", "hired"),
            flow("keep", "Keep in touch", 233, ["applied", "interview"], ["pool", None]),
            flow("again", "Apply again", 31, "pool", "applied"),
            flow("decline", "Decline", 7, "offered", None),
        ],
    ),
    "list": Story(
        "Mailing list",
        [stock("members", "Members", "12,904", "+112 this week")],
        [flow("join", "Join", 180, None, "members"), flow("leave", "Leave", 68, "members", None)],
    ),
}

STYLE = """
body{margin:0;font:15px/1.5 system-ui,'DejaVu Sans',sans-serif}
section{background:var(--kck-surface);color:var(--kck-ink);padding:24px}
h2{font-size:17px;font-weight:600;margin:30px 0 10px} svg{display:block;max-width:100%;height:auto}
.phones{display:flex;flex-wrap:wrap;gap:36px} .phones div{width:360px;flex:none;overflow-x:auto}
.phones svg{max-width:none}
pre{font:13px/1.25 'DejaVu Sans Mono',monospace}
a:focus-visible{outline:2px solid var(--kck-focus);outline-offset:3px}
a:hover .kck-valve{fill:var(--kck-ink)}
"""


def page() -> str:
    """Return the whole page."""
    sections = []
    for theme in ("light", "dark"):
        wide = "".join(
            f"<h2>{escape(story.title)}</h2>{drawn(*story[1:], id=f'{theme}-{name}', title=story.title)}"
            for name, story in STORIES.items()
        )
        strong = STORIES["subscriptions"]
        wide += "<h2>As wide as they are strong</h2>"
        wide += drawn(*strong[1:], id=f"{theme}-strong", title=strong.title, proportional=True)
        narrow = "".join(
            f"<div><h2>{escape(story.title)}</h2>"
            f"{drawn(*story[1:], id=f'{theme}-{name}-narrow', title=story.title, narrow=True)}</div>"
            for name, story in STORIES.items()
        )
        sections.append(f'<section data-theme="{theme}">{wide}<div class="phones">{narrow}</div></section>')
    said = "".join(
        f"<h2>{escape(story.title)}</h2><pre>{escape(picture(*story[1:], width=150))}</pre>"
        f"<ul>{''.join(f'<li>{escape(one.text)}</li>' for one in sentences(*story[1:]))}</ul>"
        for story in STORIES.values()
    )
    sections.append(f"<section>{said}</section>")
    css = palette.css().replace(":root[data-theme", "[data-theme")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Diagrams</title>'
        f'<meta name="viewport" content="width=device-width"><style>{css}{STYLE}</style>{"".join(sections)}'
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    Path(sys.argv[1]).write_text(page())
    print(f"Written: {sys.argv[1]}")
