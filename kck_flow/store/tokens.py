"""Whether what a page shows has changed: a short text for each product, the same in every process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from .levels import args_json
from .session import Session

Token = str


def stored(session: Session, asked: Sequence[tuple[UUID, str]]) -> list[Token]:
    """Return the tokens of products by (digest, key base)."""
    params = {"digests": [one for one, _ in asked], "bases": [base for _, base in asked]}
    return _in_order(session.rows("tokens_stored", params), len(asked))


def counted(session: Session, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Token]:
    """Return the tokens of stocks and flows by (key base, parameters); empty where none is counted by triggers."""
    params = {"bases": [base for base, _ in asked], "args": [args_json(args) for _, args in asked]}
    return _in_order(session.rows("tokens_counted", params), len(asked))


def framed(session: Session, bases: Sequence[str]) -> list[Token]:
    """Return the tokens of families of time frames."""
    return _in_order(session.rows("tokens_framed", {"bases": list(bases)}), len(bases))


def _in_order(rows: Sequence[tuple[Any, ...]], count: int) -> list[Token]:
    found = {row[0]: row[1] for row in rows}
    return [found.get(place + 1) or "" for place in range(count)]
