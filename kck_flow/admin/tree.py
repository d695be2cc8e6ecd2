"""A value becomes lines that people read: what looks secret is masked, what is long is folded."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from ..codec import encode_plain

MASK: Final = "••••"
# From so many lines on, a value is folded; of one with more pieces than that, the rest is counted.
LINES, PIECES = 200, 5000
_SECRET = re.compile(
    r"pass(word|wd|phrase|code)?$|passw|secret|token|api_?key|private_?key|access_?key|authori[sz]ation|cookie|session|"
    r"credential|signature|\bpin\b|cvc|cvv|iban|ssn|card_?number",
    re.IGNORECASE,
)


def is_secret(name: Any) -> bool:
    """Whether what is called so is better not shown."""
    return isinstance(name, str) and _SECRET.search(name) is not None


def masked(value: Any) -> Any:
    """Return a value with what stands under secret names masked."""
    if isinstance(value, Mapping):
        return {
            name: MASK if is_secret(name) and one is not None else masked(one) for name, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [masked(one) for one in value]
    return value


def lines(value: Any) -> list[str]:
    """Return a value as JSON, indented, masked."""
    plain = json.loads(encode_plain(value))
    return json.dumps(masked(plain), indent=2, ensure_ascii=False).split("\n")


def tree(value: Any) -> SafeString:
    """Return a value as HTML: its JSON; with more than ``LINES`` lines, its objects and lists folded."""
    plain = masked(json.loads(encode_plain(value)))
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    if text.count("\n") < LINES:
        return format_html('<pre class="kck-json"><code>{}</code></pre>', text)
    left = [PIECES]
    return format_html(
        '<div class="kck-json kck-tree">{}</div>', mark_safe("".join(_piece("", plain, left, True)))
    )


def _piece(name: str, value: Any, left: list[int], opened: bool = False) -> Iterator[str]:
    """Yield one piece of a tree; ``left`` is how many more may be drawn."""
    label = f"<b>{escape(name)}</b>: " if name else ""
    if not isinstance(value, (dict, list)) or not value:
        yield f"<div>{label}<code>{escape(json.dumps(value, ensure_ascii=False))}</code></div>"
        return
    told = _("%(count)s entries") % {"count": len(value)}
    yield f"<details{' open' if opened else ''}><summary>{label}{escape(told)}</summary>"
    pieces = value.items() if isinstance(value, dict) else enumerate(value)
    for place, (one, inner) in enumerate(pieces):
        if left[0] <= 0:
            yield f"<div>… {escape(_('%(count)s more') % {'count': len(value) - place})}</div>"
            break
        left[0] -= 1
        yield from _piece(str(one), inner, left)
    yield "</details>"


def diff(before: Any, after: Any, most: int = 40) -> list[tuple[str, str]]:
    """Return what has changed between two values, (``+``, ``-`` or empty; line) each: at most so many lines, the last
    one saying how many there are besides.
    """
    older, newer = lines(before), lines(after)
    if older == newer:
        return []
    if len(older) == len(newer) == 1:
        return [("-", older[0]), ("+", newer[0])]
    if len(older) + len(newer) > 20_000:  # comparing takes longer than anybody waits
        told = _("too long to be compared: %(before)s and %(after)s lines")
        return [("", told % {"before": len(older), "after": len(newer)})]
    found = [_marked(line) for line in difflib.unified_diff(older, newer, n=1, lineterm="")][2:]
    found = [("", "…") if line.startswith("@@") else (mark, line) for mark, line in found]
    if len(found) > most:
        return [*found[:most], ("", _("… %(count)s more lines") % {"count": len(found) - most})]
    return found


def _marked(line: str) -> tuple[str, str]:
    return (line[0], line[1:]) if line[:1] in "+-" and not line.startswith(("+++", "---")) else ("", line)


def texts(values: Sequence[Any]) -> list[str]:
    """Return values in a line each, masked."""
    return [json.dumps(masked(json.loads(encode_plain(one))), ensure_ascii=False) for one in values]
