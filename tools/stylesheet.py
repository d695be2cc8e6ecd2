"""Writes the palette into the pages' stylesheet, which is served as it is: python tools/stylesheet.py"""

from __future__ import annotations

from pathlib import Path

from kck_flow.drawing import palette

SHEET = Path(__file__).parent.parent / "kck_flow/static/kck_flow/kck.css"
BEGIN, END = "/* palette: written by tools/stylesheet.py */\n", "/* end of the palette */\n"


def written(text: str) -> str:
    """Return the stylesheet with the palette in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{palette.css()}{END}{after}"


if __name__ == "__main__":
    SHEET.write_text(written(SHEET.read_text()))
