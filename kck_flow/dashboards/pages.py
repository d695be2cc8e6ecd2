"""Page: what one address shows, whichever of its four faces is asked for; and the addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from django.conf import settings
from django.urls import NoReverseMatch, get_script_prefix, get_urlconf, reverse
from django.utils.translation import get_language

from ..codec import encode_plain
from ..errors import InvalidKey
from ..key import Key
from ..registry import registry
from .captions import Caption

# What a path segment may hold unescaped.
_SAFE: Final = "~:@!$&'()*+,;=-._"
FACES: Final = ("html", "json", "csv", "svg")
_ENDINGS: Final = tuple(f".{face}" for face in FACES)


@dataclass
class Page:
    """What one address shows.

    Attributes:
        template: Of its page, below ``kck_flow/``.
        title: For people.
        columns: The names of a row, in their order.
        rows: What JSON and CSV give, a dict each.
        meta: What JSON says beside them.
        context: What its template needs beside all that.
        picture: Draws its SVG for (theme, width); None where there is none.
        modified: When what it shows was computed, or None.
        next: Where the rows go on, opaque; None where they end.
        facts: What else it depends on; with the rows it makes its version.
        layout: How whoever draws it himself is to show it.
        body: The JSON, ready made; None where it is made of rows and meta.
        csv_rows: The rows of its CSV where they differ, the header first; a function, as they may be many.
        etag: Its version where it is known without looking at rows and facts; empty where it is not.
        expires_at: Until when it is known to stay as it is; None where it may change any moment.
        stale_until: Until when it may be shown all the same while it is asked for anew; None for not at all.
        public: Whether it is the same for everybody.
        keys: The products whose change changes it.
        guard: Whether a user may see it, as far as that is not decided by its products.
    """

    template: str
    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    picture: Callable[[str, int], str] | None = None
    modified: datetime | None = None
    next: str | None = None
    facts: Any = None
    layout: Mapping[str, Any] | None = None
    body: bytes | None = None
    csv_rows: Callable[[], Iterable[Sequence[Any]]] | None = None
    etag: str = ""
    expires_at: datetime | None = None
    stale_until: datetime | None = None
    public: bool = False
    keys: Sequence[Key] = ()
    guard: Callable[[Any], bool] = lambda _user: True

    def version(self, *more: Any) -> str:
        """Return what changes whenever what it shows does: a digest, for ``ETag``."""
        parts = encode_plain([self.title, list(self.columns), list(self.rows), self.facts, self.next, *more])
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


def short(key: str) -> str:
    """Return the shortest spelling of a key: without the parts at its end that have their defaults and no text."""
    text = str(key).rstrip("/")
    try:
        return text if registry.key(text) == key else str(key)
    except InvalidKey:
        return str(key)


def segment(key: str) -> str:
    """Return a key as one segment of a path."""
    return quote(short(key), safe=_SAFE)


def address(name: str, key: str = "", face: str = "", **parameters: Any) -> str:
    """Return the address of a page: its path under whatever prefix the project has chosen, and its parameters.

    A key that ends like a face (``report.json``) is told from one by ``.html``.
    """
    path = _root() + (f"{name}/{segment(key)}" if key else name)
    if not face and key and str(key).endswith(_ENDINGS):
        face = "html"
    if face and not path.endswith("/"):
        path += f".{face}"
    given = {one: value for one, value in parameters.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def _root() -> str:
    urlconf = get_urlconf() or getattr(settings, "ROOT_URLCONF", None)
    return _reversed(urlconf, get_script_prefix(), get_language())


@lru_cache(64)
def _reversed(urlconf: Any, prefix: str, language: str | None) -> str:
    """Return where the pages are: the same for all addresses of a page, each of which would look for it."""
    return reverse("kck_flow:index")


def deed_address(key: str, deed: str) -> str:
    """Return where a POST does something to a product: ``refresh``, ``invalidate``, ``share``."""
    return f"{reverse('kck_flow:index')}products/{segment(key)}/{deed}"


PLACES: Final[Mapping[str, str]] = {"process": "processes", "metric": "metrics", "frame": "frames"}


def place_of(words: Caption) -> str:
    """Return under which of the pages a product has its own."""
    return PLACES.get(words.kind, "products")


def href(words: Caption, kept: Mapping[str, str] | None = None) -> str:
    """Return the address of a product's page, with what the time bar says here; empty where the project includes no
    pages: templates of its own show products all the same.
    """
    try:
        return address(place_of(words), words.key, **(kept or {}))
    except NoReverseMatch:
        return ""


def point_row(start: datetime, end: datetime, value: Any, complete: bool) -> dict[str, Any]:
    """Return a point of a series as JSON and CSV have it: ISO 8601 with the offset of its zone."""
    return {"start": start.isoformat(), "end": end.isoformat(), "value": value, "complete": complete}
