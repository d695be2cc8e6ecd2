"""Values to JSON text and back, exactly, even through PostgreSQL's ``jsonb``.

``decode(jsonb(encode(value))) == value`` with the same types and the same order of dicts. ``jsonb`` sorts the
keys of an object by length, then by bytes; reads ``1e16`` as an integer; forgets the sign of ``-0.0``;
refuses NUL and lone surrogates. JSON itself knows no tuple, set, date or decimal. What would be changed on
the way is *tagged*: an object with one key that begins with ``$``. Everything else stays plain JSON, which
SQL can query and patch: keys that ``$order`` does not name (a patch added them) come last.

==========================================  ==========================================================
value                                       stored as
==========================================  ==========================================================
None, bool, int, float, str, list           itself
dict with text keys in jsonb's own order    itself; a key that begins with ``$`` gets a second ``$``
dict with text keys in another order        itself, and its order beside it:
                                            ``{"b": 1, "a": 2, "$order": ["b", "a"]}``
dict with other keys (or odd ones)          ``{"$odict": [[key, value], …]}``
tuple, set, frozenset                       ``{"$tuple": […]}``, ``{"$set": […]}``, ``{"$frozenset": …}``
float: NaN, infinite, -0.0, 1e16 and more   ``{"$float": "1e+16"}``
int of more than 4,000 digits               ``{"$int": "0x…"}``
str with NUL or lone surrogates             ``{"$str": "\\"a\\\\u0000b\\""}``, its own JSON
Decimal                                     ``{"$decimal": "1.10"}``, exponent and all
date, datetime, time                        ``{"$date": "2026-01-31"}`` and so on; ``[text, 1]`` for fold=1
timedelta                                   ``{"$timedelta": [days, seconds, microseconds]}``
UUID, bytes                                 ``{"$uuid": "…"}``, ``{"$bytes": "base64"}``
==========================================  ==========================================================

What does change, on purpose (a miss answers ``decode(encode(value))``, so that a hit equals it):

* An aware datetime keeps its instant and its offset from UTC; the *name* of its zone becomes that offset.
* Members of ``str`` and ``int`` enums (``TextChoices``) become their value; members of other enums are
  refused.
* Lazy translations become ``str``, in the language active while encoding.
* Other subclasses come back as the type they extend: ``SafeString`` as ``str``, ``OrderedDict`` and
  ``Counter`` as ``dict``, a named tuple as ``tuple``.

Everything else is refused with an ``UnstorableValue`` that names the place: dataclasses, generators,
querysets, model instances, cycles, more than 200 levels.
"""

from __future__ import annotations

import base64
import json
import math
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from operator import itemgetter
from types import NoneType
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise

from .errors import UnstorableValue

__all__ = [
    "JSON",
    "Codec",
    "JSONCodec",
    "SignedPickle",
    "codec_named",
    "decode",
    "encode",
    "encode_plain",
    "register_codec",
]

MAX_DEPTH = 200  # containers within containers; json and jsonb both recurse
EXACT_FLOAT = 1e16  # from here on Python writes an exponent, which jsonb turns into an integer
LONG_INT = 1 << 13_000  # Python refuses to write or read more than 4,300 digits
SHAPES = 1024  # key orders remembered; the rows of a list have one
SHAPE_KEYS = 256  # dicts with more keys are mostly maps, whose keys do not come again
REPLACEMENT = "\ufffd"

# Types whose values stand for themselves wherever they are (odd strings and long ints are found later).
_SIMPLE = frozenset({str, int, bool, NoneType})
_is_simple = _SIMPLE.issuperset
_is_text = frozenset({str}).issuperset
_dump = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_dump_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode
_load = json.JSONDecoder().decode


class _Refused(Exception):
    """On its way up from the thing that cannot be stored; each container adds its part of the path."""

    def __init__(self, thing: object, advice: str) -> None:
        self.thing = thing
        self.advice = advice
        self.parts: list[str] = []

    def within(self, part: str) -> _Refused:
        self.parts.append(part)
        return self

    def error(self, root: object) -> UnstorableValue:
        if isinstance(root, (dict, list, tuple, set, frozenset)) and len(self.parts) >= MAX_DEPTH:
            cycle = _cycle(root)
            if cycle:
                return UnstorableValue(
                    f"The value contains itself: {cycle}. Store a copy without the way back."
                )
            return UnstorableValue(
                f"The value is nested more than {MAX_DEPTH} levels deep, at {self.path()[:80]}…. Flatten it."
            )
        kind = type(self.thing)
        name = (
            kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
        return UnstorableValue(
            f"The value at {self.path()} is of type {name}, which cannot be stored. {self.advice}"
        )

    def path(self) -> str:
        return "$" + "".join(reversed(self.parts))


# --- encode -------------------------------------------------------------------------------------------------


def encode(value: object) -> str:
    """Return the JSON text that is stored for ``value``; ``decode`` gives the value back, exactly.

    Equal values of the same types give equal texts, in every process (sets are sorted).

    Raises:
        UnstorableValue: Something in it cannot be stored; the message says where (``$.rows[3].total``), what
            it is, and what to do.
    """
    try:
        try:
            text = _dump(_tag(value, 1, False))
            if "\\u0000" not in text and _is_unicode(text):
                return text
        except (TypeError, ValueError):  # NaN deep down, an int too long, a lazy key: look at everything
            pass
        return _dump(_tag(value, 1, True))
    except _Refused as refused:
        raise refused.error(value) from None


def _tag(value: Any, depth: int, strict: bool) -> Any:
    """Return what json shall write for ``value``: itself where nothing in it needs a tag.

    ``strict`` looks also at strings and ints; without it they pass, and the text is looked at afterwards.
    """
    kind = type(value)
    if kind is dict:
        return _tag_dict(value, depth, strict)
    if kind is list:
        return _tag_list(value, depth, strict)
    if kind in _SIMPLE:
        return _tag_scalar(value) if strict else value
    tagger = _TAGGERS.get(kind)
    if tagger is not None:
        return tagger(value, depth, strict)
    return _tag_relative(value, depth, strict)


def _tag_dict(value: dict[Any, Any], depth: int, strict: bool) -> Any:
    if depth > MAX_DEPTH:
        raise _Refused(value, "")
    keys = tuple(value)
    shape = None if strict else _shapes.get(keys)
    if shape is None:
        shape = _shape(keys, strict)
    if shape == _PAIRS:
        return {"$odict": _tag_pairs(value, depth, strict)}
    escaped = shape in (_ESCAPED, _ESCAPED_ORDERED)
    if escaped:
        value = {"$" + key if key[:1] == "$" else key: item for key, item in value.items()}
    if shape in (_ORDERED, _ESCAPED_ORDERED):
        value = {**value, "$order": _order_of(tuple(value))}
    if not strict and shape == _IN_ORDER and _is_simple(map(type, value.values())):
        return value
    tagged: dict[Any, Any] | None = None
    for key, item in value.items():
        kind = type(item)
        if (
            (kind in _SIMPLE and not strict)
            or (kind is float and 0.0 < item < EXACT_FLOAT)
            or key == "$order"
        ):
            continue
        try:
            new = _tag_dict(item, depth + 1, strict) if kind is dict else _tag(item, depth + 1, strict)
        except _Refused as refused:
            raise refused.within(_step(key[1:] if escaped and key[:1] == "$" else key)) from None
        if new is not item:
            if tagged is None:
                tagged = dict(value)
            tagged[key] = new
    return value if tagged is None else tagged


def _tag_pairs(value: dict[Any, Any], depth: int, strict: bool) -> list[list[Any]]:
    if not strict and _is_simple(map(type, value)) and _is_simple(map(type, value.values())):
        return list(value.items())  # type: ignore[arg-type]  # json writes a pair as a list
    pairs = []
    for key, item in value.items():
        try:
            new = _tag(key, depth + 1, strict)
        except _Refused as refused:
            raise refused.within(f"[the key {key!r:.60}]") from None
        try:
            pairs.append([new, _tag(item, depth + 1, strict)])
        except _Refused as refused:
            raise refused.within(_step(key)) from None
    return pairs


def _tag_list(value: Sequence[Any], depth: int, strict: bool) -> Any:
    if depth > MAX_DEPTH:
        raise _Refused(value, "")
    if not strict and _is_simple(map(type, value)):
        return value
    tagged: list[Any] | None = None
    for index, item in enumerate(value):
        kind = type(item)
        if (kind in _SIMPLE and not strict) or (kind is float and 0.0 < item < EXACT_FLOAT):
            continue
        try:
            new = _tag_dict(item, depth + 1, strict) if kind is dict else _tag(item, depth + 1, strict)
        except _Refused as refused:
            raise refused.within(f"[{index}]") from None
        if new is not item:
            if tagged is None:
                tagged = list(value)
            tagged[index] = new
    return value if tagged is None else tagged


def _tag_scalar(value: Any) -> Any:
    if type(value) is str:
        return {"$str": _dump_ascii(value)} if _is_odd(value) else value
    if type(value) is int and not -LONG_INT < value < LONG_INT:
        return {"$int": hex(value)}
    return value


def _tag_float(value: float, depth: int, strict: bool) -> Any:
    if -EXACT_FLOAT < value < EXACT_FLOAT and (value or math.copysign(1.0, value) > 0):
        return value
    return {"$float": repr(value)}


def _tag_tuple(value: tuple[Any, ...], depth: int, strict: bool) -> Any:
    return {"$tuple": _tag_list(value, depth, strict)}


def _tag_set(value: AbstractSet[Any], depth: int, strict: bool) -> Any:
    if depth > MAX_DEPTH:
        raise _Refused(value, "")
    kinds = set(map(type, value))
    if not strict and (kinds == {str} or kinds == {int}):
        items = sorted(value)
    else:
        try:
            items = [_tag(item, depth + 1, strict) for item in value]
        except _Refused as refused:
            raise refused.within("{…}") from None
        items = sorted(value) if kinds == {int} else sorted(items, key=_sort_text)
        if kinds == {int}:
            items = [_tag(item, depth + 1, strict) for item in items]
    return {"$frozenset" if isinstance(value, frozenset) else "$set": items}


def _sort_text(tagged: Any) -> str:
    # Hashes of text differ between processes and so does the order of a set; equal sets give equal text.
    return _dump_ascii(tagged)


def _tag_datetime(value: datetime, depth: int, strict: bool) -> Any:
    text = value.isoformat()
    return {"$datetime": [text, 1] if value.fold and value.utcoffset() is None else text}


def _tag_time(value: time, depth: int, strict: bool) -> Any:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise _Refused(
            value,
            "A time of day has no offset in a zone that has a calendar: store a datetime, or both parts.",
        )
    text = value.isoformat()
    return {"$time": [text, 1] if value.fold else text}


_Tagger = Callable[[Any, int, bool], Any]
_TAGGERS: dict[type, _Tagger] = {
    float: _tag_float,
    tuple: _tag_tuple,
    set: _tag_set,
    frozenset: _tag_set,
    datetime: _tag_datetime,
    date: lambda value, depth, strict: {"$date": value.isoformat()},
    time: _tag_time,
    timedelta: lambda value, depth, strict: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    Decimal: lambda value, depth, strict: {"$decimal": str(value)},
    UUID: lambda value, depth, strict: {"$uuid": str(value)},
    bytes: lambda value, depth, strict: {"$bytes": base64.b64encode(value).decode("ascii")},
}


_EXTENDED: tuple[Any, ...] = (dict, list, tuple, set, frozenset, Decimal, bytes)


def _tag_relative(value: Any, depth: int, strict: bool) -> Any:
    """Tag what is of no type we know but extends one, or refuse it."""
    return _tag(_base(value), depth, strict)


def _base(value: Any) -> Any:
    """Return ``value`` as the carried type that it extends. Raises ``_Refused`` where it extends none."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, Enum):
        if isinstance(value, (str, int)) and isinstance(value.value, (str, int)):
            return _base(value.value) if type(value.value) not in _SIMPLE else value.value
        raise _Refused(value, "Store its .value, or its .name.")
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.timetz())
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    if isinstance(value, timedelta):
        return timedelta(value.days, value.seconds, value.microseconds)
    for kind in _EXTENDED:
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, UUID):
        return UUID(int=value.int)
    raise _Refused(value, _advice(value))


def _advice(value: object) -> str:
    kind = type(value)
    if isinstance(value, type) or callable(value):
        return "Store what it returns, or its name."
    if hasattr(value, "_meta") and hasattr(value, "pk"):
        return "Store its pk, or the columns you need as a dict."
    if hasattr(value, "query") and hasattr(value, "model"):
        return "Store list(queryset.values(...)), or list(queryset.values_list(...))."
    if is_dataclass(value):
        return "Store dataclasses.asdict(...) of it."
    if isinstance(value, (bytearray, memoryview)):
        return "Store bytes(...) of it."
    if hasattr(value, "__await__"):
        return "Await it and store the result."
    if hasattr(value, "tolist"):
        return "Store its .tolist()."
    if isinstance(value, Mapping):
        return "Store dict(...) of it."
    if isinstance(value, (Iterator, Iterable, deque, range)):
        return "Store list(...) of it."
    if kind is complex:
        return "Store a tuple of its parts."
    return "Store plain values (dict, list, text, numbers, dates), or give the primer another codec."


# --- the order that jsonb gives to keys ---------------------------------------------------------------------

_IN_ORDER, _ESCAPED, _PAIRS = "in order", "escaped", "pairs"
_ORDERED, _ESCAPED_ORDERED = "with its order", "escaped, with its order"
_shapes: dict[tuple[Any, ...], str] = {}


def _shape(keys: tuple[Any, ...], strict: bool) -> str:
    """Say how a dict with these keys is stored; remembered, since rows ask the same thousands of times."""
    escaped = ordered = False
    size, last = -1, ""
    for key in keys:
        if type(key) is not str or (strict and _is_odd(key)):
            return _PAIRS
        if key[:1] == "$":
            key = "$" + key
            escaped = True
        length = len(key) if key.isascii() else len(key.encode("utf-8", "surrogatepass"))
        # Code points and their UTF-8 bytes sort alike.
        if length < size or (length == size and key < last):
            ordered = True
        size, last = length, key
    shape = (_ESCAPED_ORDERED if escaped else _ORDERED) if ordered else _ESCAPED if escaped else _IN_ORDER
    if not strict and len(keys) <= SHAPE_KEYS:
        if len(_shapes) >= SHAPES:
            _shapes.clear()
        _shapes[keys] = shape
    return shape


def _is_odd(text: str) -> bool:
    return "\0" in text or not _is_unicode(text)


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _step(key: object) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r:.60}]"


def _cycle(root: Any) -> str:
    """Return the path of a container to itself, ``$.a[0] is $``, or nothing."""
    seen: dict[int, str] = {}
    finished: set[int] = set()

    def visit(value: Any, path: str) -> str:
        items: Iterable[tuple[str, Any]]
        if isinstance(value, dict):
            items = ((_step(key), item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            items = ((f"[{index}]", item) for index, item in enumerate(value))
        else:
            return ""
        if id(value) in seen:
            return f"{path} is {seen[id(value)]}"
        if id(value) in finished or len(seen) > MAX_DEPTH:
            return ""
        seen[id(value)] = path
        for step, item in items:
            found = visit(item, path + step)
            if found:
                return found
        del seen[id(value)]
        finished.add(id(value))
        return ""

    return visit(root, "$")


# --- decode -------------------------------------------------------------------------------------------------


def decode(text: str) -> Any:
    """Return the value that ``encode`` wrote, from its text or from that of the ``jsonb`` it was stored in.

    Raises:
        ValueError: Not JSON, or a tag that this version does not know.
    """
    if '"$' in text:
        return _load_escaped(text) if '"$$' in text else _load_tagged(text)
    return _load(text)


def _untag(found: dict[str, Any]) -> Any:
    """Called by the JSON reader for each object, the innermost first."""
    if len(found) == 1:
        ((key, item),) = found.items()
        if key[:1] != "$":
            return found
        reader = _READERS.get(key)
        if reader is not None:
            return reader(item)
        if key[:2] == "$$":
            return found
        raise ValueError(
            f"The stored value has the tag {key!r}, which this version of kck_flow does not know. "
            f"Was it written by a newer one? A key of one's own would be stored as {'$' + key!r}."
        )
    order = found.get("$order")
    return found if order is None else _ordered(found, order)


def _untag_escaped(found: dict[str, Any]) -> Any:
    """The same where some key somewhere is escaped: looking for it costs as much as all the rest."""
    value = _untag(found)
    if value is found or "$order" in found:
        return {key[1:] if key[:2] == "$$" else key: item for key, item in value.items()}
    return value


def _order_of(keys: tuple[str, ...]) -> str | list[str]:
    # One text is read in a fifth of the time of a list, and a list of rows has one for each row.
    text = ",".join(keys)
    return text if text.count(",") == len(keys) - 1 else list(keys)


_Order = tuple[tuple[str, ...], Callable[[dict[str, Any]], tuple[Any, ...]]]
_orders: dict[str, _Order] = {}


def _ordered(found: dict[str, Any], order: str | list[str]) -> dict[str, Any]:
    known = _orders.get(order) if type(order) is str else None
    if known is None:
        keys = tuple(order.split(",") if type(order) is str else order)
        if len(keys) < 2:
            return {key: item for key, item in found.items() if key != "$order"}
        known = keys, itemgetter(*keys)
        if type(order) is str and len(keys) <= SHAPE_KEYS:
            if len(_orders) >= SHAPES:
                _orders.clear()
            _orders[order] = known
    keys, items = known
    if len(found) == len(keys) + 1:
        try:
            return dict(zip(keys, items(found)))  # noqa: B905  (strict costs, and cannot fail)
        except KeyError:
            pass
    # SQL has added or removed keys since: those that are named go first, in their order.
    named = {key: found[key] for key in keys if key in found}
    return named | {key: item for key, item in found.items() if key != "$order"}


_load_tagged = json.JSONDecoder(object_hook=_untag).decode
_load_escaped = json.JSONDecoder(object_hook=_untag_escaped).decode


def _read_datetime(item: str | list[Any]) -> datetime:
    return (
        datetime.fromisoformat(item)
        if isinstance(item, str)
        else datetime.fromisoformat(item[0]).replace(fold=1)
    )


def _read_time(item: str | list[Any]) -> time:
    return time.fromisoformat(item) if isinstance(item, str) else time.fromisoformat(item[0]).replace(fold=1)


_READERS: dict[str, Callable[[Any], Any]] = {
    "$odict": dict,
    "$order": lambda item: {},  # a patch has removed all that it named
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$float": float,
    "$int": lambda item: int(item, 16),
    "$str": _load,
    "$decimal": Decimal,
    "$date": date.fromisoformat,
    "$datetime": _read_datetime,
    "$time": _read_time,
    "$timedelta": lambda item: timedelta(*item),
    "$uuid": UUID,
    "$bytes": base64.b64decode,
}


# --- for people and HTTP ------------------------------------------------------------------------------------


def encode_plain(value: object) -> str:
    """Return ``value`` as JSON without tags, for people and HTTP; also fit for a ``jsonb`` column.

    Dates, times and durations in ISO 8601, decimals and UUIDs as text, bytes in base64, tuples as lists, sets
    as sorted lists, NaN and infinities as null, keys as text; NUL and lone surrogates as U+FFFD. Dicts keep
    their order. A dict two keys of which have one text (``1`` and ``"1"``) becomes a list of pairs.

    Raises:
        UnstorableValue: As ``encode``.
    """
    try:
        try:
            text = _dump(_plain(value, 1))
            if "\\u0000" not in text and _is_unicode(text):
                return text
        except ValueError:  # an int too long to write out
            pass
        return _dump(_plain(value, 1, _clean))
    except _Refused as refused:
        raise refused.error(value) from None


def _clean(text: str) -> str:
    return text.replace("\0", REPLACEMENT).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain(value: Any, depth: int, text_of: Callable[[str], str] | None = None) -> Any:
    kind = type(value)
    if kind is str:
        return value if text_of is None else text_of(value)
    if kind is int:
        return value if -LONG_INT < value < LONG_INT else hex(value)
    if kind in _SIMPLE:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind in _CONTAINERS and depth > MAX_DEPTH:
        raise _Refused(value, "")
    if kind is dict:
        return _plain_dict(value, depth, text_of)
    if kind is list or kind is tuple:
        if text_of is None and _is_simple(map(type, value)):
            return value
        items = []
        for index, item in enumerate(value):
            try:
                items.append(_plain(item, depth + 1, text_of))
            except _Refused as refused:
                raise refused.within(f"[{index}]") from None
        return items
    if kind is set or kind is frozenset:
        kinds = set(map(type, value))
        try:
            if len(kinds) == 1 and kinds <= _SORTABLE:
                return [_plain(item, depth + 1, text_of) for item in sorted(value)]
            return sorted((_plain(item, depth + 1, text_of) for item in value), key=_sort_text)
        except _Refused as refused:
            raise refused.within("{…}") from None
    writer = _WRITERS.get(kind)
    return writer(value) if writer is not None else _plain(_base(value), depth, text_of)


def _plain_dict(value: dict[Any, Any], depth: int, text_of: Callable[[str], str] | None) -> Any:
    if text_of is None and _is_text(map(type, value)) and _is_simple(map(type, value.values())):
        return value
    pairs = []
    for key, item in value.items():
        try:
            name = _plain(key, depth + 1, text_of)
        except _Refused as refused:
            raise refused.within(f"[the key {key!r:.60}]") from None
        try:
            pairs.append((name if type(name) is str else _dump(name), _plain(item, depth + 1, text_of)))
        except _Refused as refused:
            raise refused.within(_step(key)) from None
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else pairs


_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_SORTABLE = frozenset({str, int, date, timedelta, UUID, bytes})
_WRITERS: dict[type, Callable[[Any], str]] = {
    date: date.isoformat,
    datetime: datetime.isoformat,
    time: time.isoformat,
    timedelta: duration_iso_string,
    Decimal: str,
    UUID: str,
    bytes: lambda value: base64.b64encode(value).decode("ascii"),
}


# --- codecs -------------------------------------------------------------------------------------------------


@runtime_checkable
class Codec(Protocol):
    """How the values of a primer become JSON text for a ``jsonb`` column, and back."""

    @property
    def name(self) -> str:
        """The name it is registered and stored under."""

    def encode(self, value: Any, /) -> str:
        """Return JSON text that survives ``jsonb``. Raises ``UnstorableValue``."""

    def decode(self, text: str, /) -> Any:
        """Return the value, from the text or from what ``jsonb`` made of it."""


class JSONCodec:
    """The default: this module's ``encode`` and ``decode``."""

    name = "json"

    def encode(self, value: Any, /) -> str:
        """Return tagged JSON text; see ``encode``."""
        return encode(value)

    def decode(self, text: str, /) -> Any:
        """Return the value; see ``decode``."""
        return decode(text)


class _Pickle:
    """What django.core.signing asks of a serializer."""

    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value, protocol=5)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # the signature was checked before


def signed_pickle(value: Any, salt: str) -> str:
    """Return any object, pickled and signed with ``SECRET_KEY``. Raises whatever pickling it raises."""
    return signing.Signer(salt=salt).sign_object(value, _Pickle, compress=True)


def unsigned_pickle(text: str, salt: str) -> Any:
    """Return the object, if the signature holds.

    Raises:
        django.core.signing.BadSignature: not signed with this project's ``SECRET_KEY``, nor a fallback; not unpickled.
    """
    return signing.Signer(salt=salt).unsign_object(text, _Pickle)


class SignedPickle:
    """Any object, pickled and signed with ``SECRET_KEY``; needs ``KCK_FLOW["ALLOW_PICKLE"] = True``.

    Reading a pickle runs code, so the signature is what stands between write access to one table and your
    process: keep ``SECRET_KEY`` out of the database. SQL, JSON and people cannot read such values.
    """

    name = "signed_pickle"
    salt = "kck_flow.codec.SignedPickle"

    def encode(self, value: Any, /) -> str:
        """Return a JSON string with the signed pickle.

        Raises:
            ImproperlyConfigured: The setting does not allow it.
            UnstorableValue: The value cannot be pickled.
        """
        self._allowed()
        try:
            return json.dumps(signed_pickle(value, self.salt))
        except Exception as error:  # pickling runs the value's own code, which may raise anything
            raise UnstorableValue(
                f"The value is of type {type(value).__qualname__}, which cannot be pickled: {error}. "
                "Store plain values instead."
            ) from error

    def decode(self, text: str, /) -> Any:
        """Return the value, if the signature holds.

        Raises:
            ImproperlyConfigured: The setting does not allow it.
            django.core.signing.BadSignature: Not signed with this project's ``SECRET_KEY``, nor a fallback;
            not unpickled.
        """
        self._allowed()
        signed = json.loads(text)
        if not isinstance(signed, str):
            raise signing.BadSignature(
                "The stored value is not a signed pickle. Refresh it, or restore its codec."
            )
        return unsigned_pickle(signed, self.salt)

    def _allowed(self) -> None:
        from .conf import conf  # asked when used: settings may not be there at import

        if conf.ALLOW_PICKLE is not True:
            raise ImproperlyConfigured(
                'The codec "signed_pickle" is off. Set KCK_FLOW["ALLOW_PICKLE"] = True to allow pickling, '
                "or store plain values."
            )


JSON = JSONCodec()
_codecs: dict[str, Codec] = {}


def register_codec(codec: Codec) -> Codec:
    """Make ``codec`` known by its name, and return it. The same class may be registered again.

    Raises:
        ValueError: It lacks ``name``, ``encode`` or ``decode``, or another codec has the name.
    """
    given: Any = codec
    if isinstance(given, type) or not isinstance(given, Codec) or not isinstance(given.name, str):
        raise ValueError(
            f"{codec!r} is not a codec: expected an instance with a name, encode(value) and decode(text)."
        )
    known = _codecs.get(codec.name)
    if known is not None and type(known) is not type(codec):
        raise ValueError(f"Two codecs are named {codec.name!r}: {known!r} and {codec!r}. Rename one.")
    _codecs[codec.name] = codec
    return codec


def codec_named(name: str) -> Codec:
    """Return the codec registered as ``name``.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    try:
        return _codecs[name]
    except KeyError:
        known = ", ".join(repr(one) for one in sorted(_codecs))
        raise ValueError(
            f"No codec is named {name!r}. Registered: {known}. Add yours with register_codec()."
        ) from None


register_codec(JSON)
register_codec(SignedPickle())
