"""What a listed product is worth, in the words that a read would use: for the command line and the pages alike."""

from __future__ import annotations

from typing import Any

from ..conf import conf
from ..registry import registry
from ..store.listings import Listed
from . import verdict


def state_of(row: Listed) -> str:
    """Return the state of a listed product, in the words that a read would use."""
    return verdict.state(
        served=servable(row),
        stale=row.pending == 1 or (row.soft_expires_at is not None and row.soft_expires_at <= row.now),
        running=row.running,
        attempts=row.attempts,
        waits=row.parked_at is not None or (row.retry_at is not None and row.retry_at > row.now),
    )


def servable(row: Listed) -> bool:
    """Whether a read would serve what is stored, fresh or not."""
    primer = registry.primers.get(row.key_base)
    return (
        row.state != "unset"
        and row.invalid_at is None
        and (row.hard_expires_at is None or row.hard_expires_at > row.now)
        and row.pending != 2
        and row.changes <= conf.PENDING_LIMIT
        and (primer is None or (row.primer_version == primer.version and not primer.always_fresh))
    )


def known_families() -> dict[str, Any]:
    """Return what the SQL of a state has to know of the primers, see ``listings.state_sql``."""
    primers = list(registry.primers.items())
    return {
        "bases": [name for name, _primer in primers],
        "versions": [primer.version for _name, primer in primers],
        "never": [primer.always_fresh for _name, primer in primers],
        "limit": conf.PENDING_LIMIT,
    }
