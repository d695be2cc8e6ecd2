"""Ages as a page shows them: in words, and in such a way that its script keeps them true while the page stays open."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.html import conditional_escape, escape, format_html
from django.utils.safestring import SafeString, mark_safe

from .. import wording

_FORMS = {"ago": wording.age, "ahead": lambda size: wording.ahead(-size), "span": wording.span}


def aged(at: datetime, now: datetime, form: str = "ago") -> SafeString:
    """Return how long ago an instant was, as HTML.

    Args:
        form: ``ago`` (4 min ago), ``ahead`` (in 4 min) or ``span`` (4 min).
    """
    size = (now - at).total_seconds()
    if form != "ahead":
        size = max(size, 0.0)
    return format_html(
        '<span class="kck-age" data-at="{}" data-form="{}">{}</span>',
        f"{at.timestamp():.0f}",
        form,
        _FORMS[form](size),
    )


def with_age(text: str, **parts: Any) -> SafeString:
    """Return a sentence with ages in it as HTML: ``text`` with its ``%(name)s`` filled, whatever is no HTML escaped."""
    return mark_safe(escape(text) % {name: conditional_escape(part) for name, part in parts.items()})
