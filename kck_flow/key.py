"""Key: a primer's name and its parameters in one canonical text.

``customer_revenue/42/2026-01-31``: the base, then each parameter in declared order, joined by ``/``. In a
part only ``%``, ``/`` and control characters are escaped (``%25 %2F %0A``, RFC 3986 spelling), so that people
can read keys and SQL can spell them with two ``replace`` calls. The canonical text is unique: its digest is
the product's identity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

from .conf import conf
from .errors import InvalidKey
from .parameter import REQUIRED

if TYPE_CHECKING:
    from .parameter import Parameter

# A part that is the empty text although the parameter has a default: the empty part already means the
# default.
EMPTY = "%"
_ESCAPED = re.compile(r"[%/\x00-\x1f\x7f]")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
KEY_BASE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,99}\Z")
# Of a key without a primer so much counts as its name: the tables index it, and an index has its bounds.
GENERAL_BASE_CHARS = 200
# Keys of our own records begin so; no primer's base and no general key may, hence they cannot meet.
INTERNAL = "!"


class Key(str):
    """A product's key: a ``str`` in canonical form that knows its parts.

    Attributes:
        key_base: The primer's name.
        params: Read-only mapping of parameter name to typed value; empty for a key without a primer.
        digest: First 128 bits of sha256 of the text: the product's identity in the tables.
    """

    key_base: str
    params: Mapping[str, Any]

    def __new__(cls, text: str, key_base: str, params: Mapping[str, Any]) -> Key:
        key = super().__new__(cls, text)
        key.key_base = key_base
        key.params = MappingProxyType(dict(params))
        return key

    @property
    def digest(self) -> UUID:
        try:
            return self._digest
        except AttributeError:
            self._digest: UUID = digest(self)
            return self._digest

    @property
    def digest_text(self) -> str:
        """The digest in hexadecimal, as PostgreSQL reads a uuid: safe inside a literal."""
        try:
            return self._digest_text
        except AttributeError:
            self._digest_text: str = self.digest.hex
            return self._digest_text

    def __repr__(self) -> str:
        return f"Key({str.__repr__(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Key, (str(self), self.key_base, dict(self.params))


def digest(text: str) -> UUID:
    """Return the identity of a canonical key text: the first 16 bytes of its sha256, as a UUID."""
    return UUID(bytes=sha256(text.encode()).digest()[:16])


def escape(text: str) -> str:
    """Return ``text`` as one part of a key: no ``/``, no control characters, ``%`` only as an escape."""
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)


def unescape(part: str) -> str:
    """Return the text of one part of a key.

    Raises:
        ValueError: a ``%`` that begins no escape, or escapes that are not UTF-8.
    """
    if "%" not in part:
        return part
    if _STRAY_PERCENT.search(part):
        raise ValueError(f"has a bare % in {part!r} (write it %25)")
    return unquote_to_bytes(part).decode()


def base_of(text: str) -> str:
    """Return what stands before the first ``/``: the name of the key's primer. Raises InvalidKey: it is no text."""
    if not isinstance(text, str):
        raise InvalidKey(f"A key is a text, not {text!r}.")
    return text.partition("/")[0]


def build(key_base: str, parameters: Sequence[Parameter[Any]], params: Mapping[str, Any]) -> Key:
    """Return the canonical key for typed (or textual) parameter values, defaults filled in.

    Raises:
        InvalidKey: a parameter is missing, unknown, or of the wrong type; the key is too long.
    """
    unknown = [name for name in params if name not in {parameter.name for parameter in parameters}]
    if unknown:
        names = ", ".join(parameter.name for parameter in parameters) or "none"
        raise InvalidKey(f"{key_base!r} has no parameter {unknown[0]!r}. It takes: {names}.")
    values = {}
    for parameter in parameters:
        if parameter.name in params and not (params[parameter.name] is None and parameter.default is None):
            try:
                values[parameter.name] = parameter.clean(params[parameter.name])
            except (ValueError, TypeError) as error:
                raise InvalidKey(f"{key_base!r}: {parameter.name} {error}.") from None
        elif parameter.default is REQUIRED:
            raise InvalidKey(
                f"{key_base!r} needs a value for {parameter.name!r}: {usage(key_base, parameters)}."
            )
        else:
            values[parameter.name] = parameter.default
    return _canonical(key_base, parameters, values)


def parse(text: str, parameters: Sequence[Parameter[Any]]) -> Key:
    """Return the canonical key that ``text`` spells.

    Raises:
        InvalidKey: too many or too few parts, or a part that is not of its parameter's type.
    """
    key_base, *parts = text.split("/")
    if parts == [""] and not parameters:
        parts = []
    if len(parts) > len(parameters):
        raise InvalidKey(
            f"{text!r} has {len(parts)} {'part' if len(parts) == 1 else 'parts'} after its name and "
            f"{key_base!r} takes {len(parameters)}: {usage(key_base, parameters)}. A / inside a value is written %2F."
        )
    values: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        part = parts[index] if index < len(parts) else None
        if part is None or (part == "" and parameter.default is not REQUIRED):
            if parameter.default is REQUIRED:
                raise InvalidKey(f"{text!r} lacks {parameter.name!r}: {usage(key_base, parameters)}.")
            values[parameter.name] = parameter.default
            continue
        try:
            values[parameter.name] = parameter.from_text("" if part == EMPTY else unescape(part))
        except (ValueError, TypeError, UnicodeError) as error:
            raise InvalidKey(f"{text!r}: {parameter.name} {error}.") from None
    return _canonical(key_base, parameters, values)


def general(text: str) -> Key:
    """Return the key of a product without a primer: the text as it is.

    Raises:
        InvalidKey: it is empty, holds a NUL or a lone surrogate, or begins with ``!`` (kept for our own
            records).
    """
    if not text or text.startswith(("/", INTERNAL)):
        raise InvalidKey(f"{text!r} is no key: a key begins with a name, and not with {INTERNAL!r} or '/'.")
    _refuse_unstorable(text)
    return Key(text, base_of(text)[:GENERAL_BASE_CHARS], {})


def internal(kind: str, *parts: str) -> Key:
    """Return the key of one of our own records; no user's key can be spelled like it."""
    base = f"{INTERNAL}{kind}"
    return Key("/".join([base, *map(escape, parts)]), base, {"of": parts[0] if parts else ""})


def usage(key_base: str, parameters: Sequence[Parameter[Any]]) -> str:
    """Return how the key is written, ``name/<part>/[part]``: the optional parts in brackets."""
    parts = [f"<{p.name}>" if p.default is REQUIRED else f"[{p.name}]" for p in parameters]
    return "/".join([key_base, *parts])


def _canonical(key_base: str, parameters: Sequence[Parameter[Any]], values: Mapping[str, Any]) -> Key:
    parts = [key_base]
    for parameter in parameters:
        value = values[parameter.name]
        if value is None and parameter.default is None:
            parts.append("")
            continue
        text = parameter.to_text(value)
        if text == "" and parameter.default is not REQUIRED:
            parts.append(EMPTY)
        else:
            parts.append(escape(text))
    text = "/".join(parts)
    _refuse_unstorable(text)
    return Key(text, key_base, values)


def _refuse_unstorable(text: str) -> None:
    if len(text) > conf.KEY_MAX_CHARS:
        raise InvalidKey(
            f"The key {text[:60]}… has {len(text)} characters; "
            f"KCK_FLOW['KEY_MAX_CHARS'] allows {conf.KEY_MAX_CHARS}."
        )
    if "\x00" in text:
        raise InvalidKey(f"{text!r} holds a NUL character, which PostgreSQL's text cannot.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidKey(f"{text!r} holds half a surrogate pair, which is no text.") from None
