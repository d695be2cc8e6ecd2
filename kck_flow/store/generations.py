"""Definitions of counted families, and the fence of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .session import Session, loads, text_of


def declare(session: Session, generation: int, key_base: str, relation: str, definition: Any) -> bool:
    """Put a definition in force; returns whether it was not."""
    params = {
        "generation": generation,
        "key_base": key_base,
        "relation": relation,
        "definition": json.dumps(definition),
        "flow": definition.get("kind") == "flow",
    }
    return bool(session.rows("declare_generation", params))


def retire(session: Session, declared: Sequence[int], bases: Sequence[str]) -> int:
    """Take definitions out of force that nobody reads any more; returns how many."""
    return len(session.rows("retire_generations", {"declared": list(declared), "bases": list(bases)}))


def retire_one(session: Session, generation: int) -> None:
    """Take a definition out of force at once."""
    session.rows("retire_generation", {"generation": generation})


def drop_retired(session: Session) -> None:
    """Delete what stocks held under definitions that are out of force."""
    session.rows("drop_retired", {})


def record(session: Session, generation: int, key_base: str, events: Any) -> None:
    """Say how a flow's transitions are kept as events (None: not); its other definitions keep none, or each would be
    told twice.
    """
    params = {
        "generation": generation,
        "key_base": key_base,
        "events": json.dumps(events) if events is not None else None,
    }
    session.rows("record_events", params)


def in_force(session: Session) -> list[tuple[int, str, str, Any, str, Any]]:
    """Return (generation, key base, relation, definition, captured, events) of each definition in force."""
    rows = session.rows("generations", {})
    return [(row[0], row[1], row[2], loads(row[3]), row[4], loads(row[5])) for row in rows]


def others(session: Session, key_base: str, generation: int) -> list[Any]:
    """Return the other definitions that a family has ever had, the one declared last first."""
    text = (
        "SELECT definition FROM kck_generation WHERE key_base = %s AND generation <> %s "
        "ORDER BY live DESC, made_at DESC"
    )
    return [loads(row[0]) for row in session.run(text, [key_base, generation])]


def begun(session: Session, key_base: str) -> list[datetime]:
    """Return when each definition that a family has ever had was put in force, the oldest first."""
    text = (
        "SELECT extract(epoch FROM made_at)::float8 FROM kck_generation WHERE key_base = %s ORDER BY made_at"
    )
    return [datetime.fromtimestamp(row[0], UTC) for row in session.run(text, [key_base])]


def not_begun(session: Session) -> set[int]:
    """Return the flows in force whose triggers have never been in place."""
    text = "SELECT generation FROM kck_generation WHERE live AND whole_at IS NULL"
    return {row[0] for row in session.run(text)}


def known_since(session: Session, generation: int, before: int, events: str) -> None:
    """Note from when on the windows of a flow that started from events are known to be whole.

    Args:
        before: The definition that counted until now.
        events: Query of how many events there are by window of that: args, start_at, n.
    """
    params = {"generation": generation, "before": before}
    session.rows("known_since", params, events=events.replace("%", "%%"))


def fence(session: Session, generation: int, token: int) -> bool:
    """Keep folds off a family while it is counted; False where somebody later does, or it is not in force."""
    return bool(session.rows("fence", {"generation": generation, "token": token}))


def unfence(session: Session, generation: int, token: int) -> None:
    """Let folds go on."""
    session.rows("unfence", {"generation": generation, "token": token})


def end_leaseless(session: Session, digest_of: Any) -> int:
    """Take away the fences whose lease is over; returns how many. ``digest_of(key_base)`` is its slot's digest."""
    with session.transaction():
        held = session.rows("fenced", {})
        if not held:
            return 0
        over = session.rows(
            "leaseless",
            {
                "generations": [row[0] for row in held],
                "tokens": [row[1] for row in held],
                "digests": [digest_of(row[2]) for row in held],
            },
        )
        tokens = {row[0]: row[1] for row in held}
        for (generation,) in over:
            unfence(session, generation, tokens[generation])
        return len(over)


def void(session: Session, key_base: str) -> int:
    """Make what a family holds worthless, with the caller's transaction; returns how many definitions that hit."""
    return len(session.rows("void_family", {"key_base": key_base}))


def captured_by(session: Session, relation: str, generation: int, *, flow: bool = False) -> str:
    """Return a digest of what captures a definition on its table; empty where it is not captured whole."""
    params = {"relation": relation, "generation": generation, "flow": flow}
    return str(session.rows("capture_print", params)[0][0])


def captured_by_many(session: Session, asked: Mapping[int, str]) -> dict[int, str]:
    """Return ``captured_by`` of several stocks' definitions, by generation, in one statement.

    Args:
        asked: Generation to relation.
    """
    each = (
        text_of("capture_print")
        .replace("%(relation)s", "q.relation")
        .replace("%(generation)s", "q.generation")
        .replace("%(flow)s", "false")
    )
    params = {"generations": list(asked), "relations": list(asked.values())}
    rows = session.run(
        "SELECT q.generation, t.captured FROM unnest(%(generations)s::bigint[], %(relations)s::text[]) "
        f"AS q (generation, relation) CROSS JOIN LATERAL ({each}) AS t (captured)",
        params,
    )
    return {int(generation): str(captured) for generation, captured in rows}


def adopt(session: Session, generation: int, before: str, now: str) -> None:
    """Note that a capture was replaced without a gap: what was counted under the one holds under the other."""
    session.run(
        "UPDATE kck_generation SET captured = %s WHERE generation = %s AND captured = %s",
        [now, generation, before],
    )
