"""How a value is kept: its text, its plain face, its expiries, its parameters as the tables hold them."""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from typing import Any

from .codec import encode_plain
from .conf import conf
from .errors import UnstorableValue
from .key import Key
from .primer import UNSET, Primer

logger = logging.getLogger("kck_flow")

# Bytes: what jsonb has for a text, and for all parts of a list or dict together.
LARGEST = 2**28 - 1


def args_of(primer: Primer | None, key: Key) -> dict[str, Any]:
    """Return a key's parameters as they stand in the tables."""
    if primer is None:
        return dict(key.params)
    return {parameter.name: parameter.to_json(key.params[parameter.name]) for parameter in primer.parameters}


def encode(key: Key, primer: Primer | None, codec: Any, value: Any) -> tuple[str | None, str]:
    """Return (text, state) of a value to be stored. Raises UnstorableValue, naming the product."""
    if value is None:
        return None, "none"
    try:
        text = codec.encode(value)
        if len(text) * 4 > LARGEST and len(text.encode()) > LARGEST:
            raise UnstorableValue(
                f"The value is {len(text.encode()):,} bytes as JSON, and PostgreSQL's jsonb holds {LARGEST:,} at most. "
                "Split it, or keep what is large elsewhere and its name here."
            )
    except UnstorableValue as error:
        told = str(error)
        raise UnstorableValue(f"{str(key)!r}: {told[:1].lower()}{told[1:]}") from error
    if len(text) > conf.VALUE_WARN_BYTES:
        logger.warning(
            "value.large family=%s bytes=%d: split it, or keep what is large elsewhere",
            primer.name if primer else "-",
            len(text),
        )
    return text, "value"


def public_of(codec: Any, text: str | None) -> str | None:
    """Return the plain JSON of a value for people, where it differs from how it is stored."""
    if text is None or '"$' not in text:
        return None
    return encode_plain(codec.decode(text))


def seconds(duration: timedelta | None) -> float | None:
    """Return a duration in seconds; None (never) stays None."""
    return duration.total_seconds() if duration is not None else None


def expiries(
    primer: Primer | None, value: Any, soft: Any = UNSET, hard: Any = UNSET
) -> tuple[float | None, float | None]:
    """Return (soft, hard) in seconds from now, the soft one shortened by the primer's jitter."""
    own_soft, own_hard = primer.expiry(value) if primer is not None else (None, None)
    soft_s = seconds(own_soft) if soft is UNSET else seconds(soft)
    hard_s = seconds(own_hard) if hard is UNSET else seconds(hard)
    if soft is UNSET and soft_s is not None and primer is not None and primer.jitter:
        soft_s *= 1 - primer.jitter * random.random()
    return soft_s, hard_s
