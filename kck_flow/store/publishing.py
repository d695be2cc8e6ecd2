"""The one statement that ends a refresh: slot, product, marks and run together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ..conf import conf
from ..key import Key
from .products import Computed, Published, Seen
from .refreshes import Claim, Ending
from .session import Session, dumps, text_of

_AT_ONCE = ", set_config('synchronous_commit', 'off', true)"


@dataclass(frozen=True, slots=True)
class Landing:
    """What a publish found: ``again`` None when the lease was lost, ``stored`` None when the row had moved.

    Attributes:
        again: Whether the refresh was asked for once more while it ran.
        marked: How many products that had read it were marked.
    """

    again: bool | None
    stored: Published | None
    marked: int


def publish(
    session: Session,
    key: Key,
    claim: Claim,
    computed: Computed,
    seen: Seen,
    ending: Ending,
    *,
    worker: str,
    statements: Any = None,
) -> Landing:
    """End a refresh and store its value, if both are still ours to touch; append what happened.

    Args:
        statements: The SQL that it ran; see ``runs.append``.
    """
    params: dict[str, Any] = {
        **computed.params(key, seen),
        **ending.params(claim),
        "reason": claim.reason,
        "causes": dumps(seen.causes),
        "run_lane": claim.lane,
        "run_nominal": claim.nominal,
        "started": claim.started,
        "bytes": len(computed.value) if computed.value is not None else None,
        "worker": worker,
        "statements": dumps(statements) if statements is not None else None,
    }
    claim.ended = True  # from here on a beat that comes back empty means nothing
    # What hooks write on the caller's connection is theirs, and waits for the disk.
    commit = "" if conf.DURABLE_PUBLISH or not session.is_private else _AT_ONCE
    row = None
    if not computed.moved:
        calm, gate = text_of("calm"), " AND EXISTS (SELECT 1 FROM calm)"
        row = session.row("publish", params, calm=calm, commit=commit, **_ends(text_of("unmoved"), gate))
    if row is None:
        row = session.row("publish", params, calm="SELECT 1", commit=commit, **_ends(text_of("moved"), ""))
    assert row is not None
    if row[0] is None:
        return Landing(None, None, 0)
    again, *stored, marked = row[:9]
    return Landing(bool(again), Published(*stored) if stored[0] is not None else None, marked)


@cache
def _ends(moved: str, gate: str) -> dict[str, str]:
    put = text_of("put").replace("{moved}", moved).replace("{gate}", " CROSS JOIN slot")
    return {"finish": text_of("finish").replace("{gate}", gate), "put": put}
