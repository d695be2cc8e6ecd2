"""What people have noted about a time: read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q

from ..key import Key
from ..models import Annotation


def within(
    alias: str, keys: Iterable[Key], start: datetime, end: datetime
) -> list[tuple[datetime, datetime | None, str]]:
    """Return (beginning, end or None, text) of what is noted of some products, or of everything, within a range."""
    asked = list(keys)
    names = {"", *map(str, asked), *(key.key_base for key in asked)}
    touches = Q(start_at__lt=end) & (Q(end_at__gt=start) | Q(end_at=None, start_at__gte=start))
    rows = Annotation._default_manager.using(alias).filter(touches, key__in=names)
    return list(rows.values_list("start_at", "end_at", "text"))
