"""Products derived from stocks and flows are told when what those hold has changed.

A stock has no version that a change could raise, and a writer is not to wait for its readers' readers: so they are
marked by the fold that brings the change into the levels, in its transaction, and by a recount that brings it instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from .. import clock, spread, waking
from ..errors import InvalidKey
from ..key import Key, build
from ..registry import registry
from ..stock import Flow, Stock
from ..store import edges, levels, pending
from ..store.session import Session

# From so many changed keys on in one fold, what is declared on their family is told of all of its keys at once.
MANY = 1000
FOLDED, RECOUNTED = "folded", "recounted"


def is_wanted(session: Session, key_base: str | None = None) -> bool:
    """Whether anything depends on a counted family, or on any."""
    names = [primer.name for primer in registry.unique() if isinstance(primer, (Stock, Flow))]
    if any(registry.on_product(name) for name in (names if key_base is None else [key_base])):
        return True
    return edges.read_counted(session, key_base)


def fold(session: Session, generation: int, key_base: str, limit: int) -> int:
    """Fold what waits of one family, and mark what depends on the keys that changed; returns how many deltas that took.

    The session must be READ COMMITTED: an edge that commits meanwhile is seen, or its computation looks again.
    """
    with session.transaction():
        if not is_wanted(session, key_base):
            taken = levels.fold(session, [generation], limit)
            # One that came since may have looked before what this has taken was written.
            if taken and is_wanted(session, key_base):
                family(session, key_base, FOLDED)
            return taken
        taken, changed = levels.fold_telling(session, generation, limit)
        for key_base, rows in changed.items():
            _tell(session, key_base, rows)
    return taken


def settle(session: Session) -> int:
    """Gather what has come about of dated levels, and mark what depends on those keys; returns how many dates."""
    if not is_wanted(session):
        return levels.settle(session)
    with session.transaction():
        settled, changed = levels.settle_telling(session)
        for key_base, rows in changed.items():
            _tell(session, key_base, rows)
    return settled


def publish(
    session: Session, key_base: str, generation: int, token: int | None, recount: str, captured: str
) -> bool:
    """Store a count (``levels.publish``) and have what depends on the family told, where it makes a difference, or has
    taken deltas that no fold will tell of. Whether anything does, the drain finds out: this snapshot may be old.
    """
    before = levels.summary(session, generation)
    good = levels.publish(session, generation, token, recount, captured)
    if good and (
        before.waiting or not before.primed or levels.summary(session, generation).sum != before.sum
    ):
        _leave_word(session, key_base)
    return good


def publish_staged(
    session: Session,
    key_base: str,
    generation: int,
    token: int,
    captured: str,
    voids: Sequence[int],
    at: float,
) -> bool:
    """Store what a long recount found (``levels.publish_staged``); what depends on the family is told in any case."""
    good = levels.publish_staged(session, generation, token, captured, voids, at)
    if good:
        _leave_word(session, key_base)
    return good


def _leave_word(session: Session, key_base: str) -> None:
    """Have the drain tell what depends on a family: after the commit, when edges that this snapshot does not see are
    there.
    """
    mark = pending.Mark(key_base, spread.STALE, source=key_base, reason=RECOUNTED)
    pending.append(session, [mark])
    waking.soon(session)


def family(session: Session, key_base: str, reason: str) -> int:
    """Mark everything that depends on any key of a counted family; returns how many marks were appended."""
    upstreams = edges.counted_upstreams(session, key_base)
    marked = pending.append_unmarked_downstream(session, upstreams, reason=reason) if upstreams else 0
    return marked + spread.from_family(session, key_base, at=clock.now(), reason=reason)


def _tell(session: Session, key_base: str, changed: Sequence[levels.OfWindow]) -> None:
    primer = registry.primers.get(key_base)
    if not isinstance(primer, (Stock, Flow)):
        family(session, key_base, FOLDED)  # of another release: its keys cannot be spelled here
        return
    keys = list(dict.fromkeys(_keys(primer, changed)))
    spread.from_counted(session, key_base, keys, at=clock.now(), reason=FOLDED, many=MANY)


def _keys(primer: Stock | Flow, changed: Sequence[levels.OfWindow]) -> Iterable[Key]:
    """Return the keys whose values have changed: of a flow, those of its windows and that of all."""
    for args, start in changed:
        windows: list[dict[str, Any]] = [{}]
        if isinstance(primer, Flow) and start is not None:
            windows = [{"window": None}, {"window": datetime.fromtimestamp(start, UTC)}]
        for window in windows:
            try:
                yield build(primer.name, primer.parameters, {**args, **window})
            except InvalidKey:
                continue  # rows whose column is NULL, say: no key leads to them
