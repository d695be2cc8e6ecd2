"""A product's value as JSON or CSV. JSON is what is stored, byte for byte, where it can be: nothing is decoded."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.utils.translation import get_language

from ..cache import read
from ..cache.facade import Cache
from ..codec import encode_plain
from ..conf import conf
from ..dashboards import reading
from ..dashboards.captions import Caption, caption
from ..dashboards.faces import Refused
from ..dashboards.pages import Page
from ..entry import Entry
from ..errors import ComputeFailed, NotPrimed, StoreUnavailable, UnknownPrimer, UnstorableValue, WaitTimeout
from ..key import Key
from ..metric import Metric
from ..primer import Primer
from ..registry import registry
from ..store.products import Plain

# What of an ``If-None-Match`` may be one of ours: the stamp of what is stored, and a digest of the words around it.
_OURS: Final = re.compile(r'"(\d{1,19}-[0-9a-f]{1,16}-[0-9a-f]{0,16})-([0-9a-f]{1,8})"')


def page(key: Key, face: str, known: str, extras: Sequence[str] = ()) -> Page:
    """Return a product's value as a page with the faces JSON and CSV.

    Args:
        known: The header ``If-None-Match``, or empty: of what the client has, the value is not read.
        extras: ``layout``, where JSON is to say how it is meant to be shown.

    Raises:
        Refused: it is not computed, or cannot be had now (503).
    """
    words, salt = _words(key)
    if face == "json" and not extras:
        told = _OURS.search(known)
        stamp = told[1] if told is not None and told[2] == salt else ""
        plain = read.get_plain(key, stamp)
        if plain is not None:
            return _stored(key, words, plain, salt)
        entry = entry_of(key)
        # It may just have been computed: then what is stored by now is the answer, as it will be next time.
        plain = read.get_plain(key) if entry.state == "fresh" and entry.version else None
        if plain is not None:
            return _stored(key, words, plain, salt)
        return _computed(key, words, face, entry, extras)
    return _computed(key, words, face, entry_of(key), extras)


def _stored(key: Key, words: Caption, plain: Plain, salt: str) -> Page:
    primer = registry.primers[key.key_base]
    soft, hard = _at(plain.soft_expires_at), _at(plain.hard_expires_at)
    computed_at = datetime.fromtimestamp(plain.computed_at, UTC)
    made = Page("product.html", words.label, modified=computed_at, etag=f"{plain.stamp}-{salt}", body=b"")
    if plain.text is not None:
        entry = Entry(str(key), None, plain.version, computed_at, soft, hard, "fresh", None)
        made.body = body_of(plain.text, meta_of(words, entry))
    _keepable(made, primer, soft, hard)
    return made


def _computed(key: Key, words: Caption, face: str, entry: Entry, extras: Sequence[str]) -> Page:
    primer = registry.primers.get(key.key_base)
    meta = meta_of(words, entry)
    made = Page("product.html", words.label, meta=meta, modified=entry.computed_at if entry.version else None)
    if face == "json":
        shown = primer.to_json(key, entry.value) if primer is not None else entry.value
        layout = layout_of(words) if "layout" in extras else None
        made.body = body_of(encode_plain(shown), meta, layout)
        made.etag = f"{entry.version}-{hashlib.sha256(made.body).hexdigest()[:32]}"
    else:
        made.csv_rows = lambda: rows_of(primer, key, entry.value)
        made.facts = [entry.version, entry.value]
    if entry.state == "fresh":
        _keepable(made, primer, entry.soft_expires_at, entry.hard_expires_at)
    else:
        made.public = is_public(primer)
    return made


def rows_of(primer: Primer | None, key: Key, value: Any) -> Iterable[Sequence[Any]]:
    """Return the rows of a value's CSV."""
    return (primer if primer is not None else _BY_HAND).to_csv(key, value)


class _ByHand(Primer):
    """What was set under a key that no primer declares."""


_BY_HAND: Final = _ByHand()


def entry_of(key: Key) -> Entry:
    """Return a product's entry, computed where it has to be.

    Raises:
        Refused: it is not computed, or cannot be had now.
    """
    try:
        return Cache.get_instance().get_entry(key)
    except UnknownPrimer:
        raise Refused(404, "Not found", f"There is no product {str(key)!r}.") from None
    except NotPrimed as error:
        raise Refused(
            503,
            "Not computed",
            str(error),
            headers={"Retry-After": "60"},
            key=str(key),
            state=reading.read([key])[key].state,
        ) from None
    except (ComputeFailed, UnstorableValue, WaitTimeout, StoreUnavailable) as error:
        failed = isinstance(error, (ComputeFailed, UnstorableValue))
        raise Refused(
            503,
            "Not available",
            f"{str(key)!r} cannot be had now: "
            + ("computing it failed." if failed else "it takes longer than a request may.")
            + f" See: manage.py kck explain {key}",
            headers={"Retry-After": "30" if failed else "5"},
            key=str(key),
            state="failed" if failed else "computing",
        ) from None


def body_of(text: str, meta: dict[str, Any], layout: dict[str, Any] | None = None) -> bytes:
    """Return a value (its plain JSON), and what is known of it, as one JSON object."""
    more = b',"layout":' + encode_plain(layout).encode() if layout is not None else b""
    return b"".join((b'{"value":', text.encode(), b',"meta":', encode_plain(meta).encode(), more, b"}"))


def layout_of(words: Caption) -> dict[str, Any]:
    """Return how a product's declaration means it to be shown."""
    primer = words.primer
    return {
        "section": words.section,
        "number_format": words.form,
        "precision": words.precision,
        "good": words.good,
        "goal": words.goal,
        "rollup": words.rollup,
        "columns": list(primer.columns) if primer is not None and primer.columns is not None else None,
    }


def meta_of(words: Caption, entry: Entry) -> dict[str, Any]:
    """Return what JSON says of a value. What is kept current by each change has no version, nor an instant."""
    return {
        "key": entry.key,
        "label": words.label,
        "kind": words.kind,
        "unit": words.unit or None,
        "unit_plural": words.unit_plural or None,
        "state": entry.state,
        "version": entry.version,
        "computed_at": entry.computed_at if entry.version else None,
        "fresh_until": entry.soft_expires_at or entry.hard_expires_at,
        "complete": not entry.gaps,
        "unstable": True,
    }


def _words(key: Key) -> tuple[Caption, str]:
    """Return the words around a value, and what tells them from others. Of a primer, they are made once a language."""
    primer, language = registry.primers.get(key.key_base), get_language()
    held = _said.get((key, language))
    if held is not None and held[0] is primer:
        return held[1], held[2]
    words = caption(key)
    told = f"{words.label}|{words.kind}|{words.unit}|{words.unit_plural}|{language}"
    salt = f"{zlib.crc32(told.encode()):x}"
    if not isinstance(primer, Metric):  # whose words may be those of a row
        if len(_said) >= _MOST_SAID:
            _said.clear()
        _said[key, language] = (primer, words, salt)
    return words, salt


_said: dict[tuple[Key, str | None], tuple[Primer | None, Caption, str]] = {}
_MOST_SAID: Final = 2000


def _at(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def is_public(primer: Primer | None) -> bool:
    """Whether a product is shown to everybody."""
    rule = primer.permission if primer is not None else None
    return bool((conf.PERMISSION if rule is None else rule) == "public")


def _keepable(made: Page, primer: Primer | None, soft: datetime | None, hard: datetime | None) -> None:
    """Say how long a client may keep what it got: as long as nothing but the clock can make it stale."""
    made.public = is_public(primer)
    if primer is None or primer.depends_on or not primer.prime_on_cache_miss:
        return
    if soft is not None:
        made.expires_at, made.stale_until = soft, hard
    else:
        made.expires_at = hard
