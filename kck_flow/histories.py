"""What a flow that starts from history counts first, in SQL: from events that were kept, or from a column of the rows.

Of a row that is in a sink now, the column says when it came there; where it came from is known where there is one
source. What has left a sink since, the rows do not say: such windows are a floor, and no more. Events say all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .definition import ROW, FlowDefinition, Part, Split, columns_of, grouped, literal


def refused(flow: Any, found: FlowDefinition) -> str:
    """Return why a flow cannot start from history; empty where it can."""
    # Events in a model of the project's own are that model's: they may be pruned, changed or fewer.
    kept = found.recording is not None and found.recording.typed is None
    if flow.at is None and not kept:
        return "it starts from history, and has neither a column (at) nor events (record_events = True) to start from"
    return "" if kept else by_column_refused(found)


def by_column_refused(found: FlowDefinition) -> str:
    """Return why a flow cannot start from what its column says; empty where it can."""
    if found.at is None:
        return "it has no column (at) that says when"
    if all(sql is None for _, sql in found.sinks):
        return "it starts from history, and rows that went outside are not there to say when"
    if len(found.sources) > 1:
        return "it starts from history, and from which of its sources a row came no column says"
    return ""


def of_column(found: FlowDefinition) -> str:
    """Return a query of what the rows say: args, start_at, facet, facet_value, n, amount (NULL); one pass over them."""
    sinks = [(name, sql) for name, sql in found.sinks if sql is not None]
    which = " ".join(f"WHEN {sql} THEN {literal(name)}" for name, sql in sinks)
    splits = list(found.splits)
    if len(found.sinks) > 1:
        splits.append(Split("sink", (Part(f"(CASE {which} END)::text", "plain"),)))
    where = [f"({' OR '.join(str(sql) for _, sql in sinks)})"]
    where += [f"NOT {sql}" for _, sql in found.sources if sql is not None]
    # As the triggers take it: another instant is none.
    where.append(f"{found.at} BETWEEN '1900-01-01Z'::timestamptz AND {{now}} + interval '1 day'")
    own = "".join(f"{part.raw} AS a{place}, " for place, (_, part) in enumerate(found.args))
    inner = (
        f"SELECT {own}{columns_of(splits)}{_window(found, str(found.at))} AS kck_start "
        f"FROM {found.relation} AS {ROW} WHERE {' AND '.join(where)}"
    )
    args = found.args_jsonb({name: f"a{place}" for place, (name, _) in enumerate(found.args)})
    by = [f"a{place}" for place in range(len(found.args))]
    return _grouped(inner, splits, [*by, "kck_start"], args)


def of_events(found: FlowDefinition, generations: Sequence[int]) -> str:
    """Return the same of what events say that were kept under some definitions of the flow."""
    own = [f'({ROW}.facets -> {literal(split.name)})::text COLLATE "C"' for split in found.splits]
    ends = [f"{ROW}.{name}" for name, of in (("source", found.sources), ("sink", found.sinks)) if len(of) > 1]
    columns = [f'{ROW}.args::text COLLATE "C"', _window(found, f"{ROW}.at"), *own, *ends]
    names = ["a", "kck_start", *(f"f{place}_0" for place in range(len(own) + len(ends)))]
    shown = "".join(f"{sql} AS {name}, " for sql, name in zip(columns, names, strict=True))
    # First those that are alike, as texts: to compare jsonb takes ten times as long.
    inner = (
        f"SELECT {shown}count(*) AS kck_n FROM kck_event AS {ROW} WHERE {_among(found, generations)} "
        f"GROUP BY {', '.join(map(str, range(1, len(columns) + 1)))}"
    )
    splits = [Split(name, (Part(name, "plain"),)) for name in names[2:]]
    counted = grouped(
        inner,
        splits,
        by=["a", "kck_start"],
        shown="a AS args, kck_start AS start_at, ",
        number="sum(kck_n)",
        measure="NULL::numeric",
    )
    value = (
        f"CASE WHEN facet BETWEEN 1 AND {len(own)} THEN (facet_value #>> '{{}}')::jsonb ELSE facet_value END"
    )
    return (
        f"SELECT args::jsonb AS args, start_at, facet, coalesce({value}, 'null'::jsonb) AS facet_value, n, amount "
        f"FROM ({counted}) AS kck_told"
    )


def windows_of_events(found: FlowDefinition, generations: Sequence[int]) -> str:
    """Return a query of how many events there are of each key and window of a definition: args, start_at, n."""
    return (
        f"SELECT {ROW}.args, {_window(found, f'{ROW}.at')} AS start_at, count(*) AS n FROM kck_event AS {ROW} "
        f"WHERE {_among(found, generations)} GROUP BY 1, 2"
    )


def serves(old: FlowDefinition, new: FlowDefinition) -> bool:
    """Whether events kept under one definition say all that another counts: its windows may differ, its facets be
    fewer.
    """
    outside = None in (sql for _, sql in (*new.sources, *new.sinks))
    alike = (old.sources, old.sinks, old.args, old.at, old.relation) == (
        new.sources, new.sinks, new.args, new.at, new.relation,
    )  # fmt: skip
    return alike and (not outside or old.inside == new.inside) and set(new.splits) <= set(old.splits)


def _among(found: FlowDefinition, generations: Sequence[int]) -> str:
    listed = ", ".join(map(str, generations))
    return f"{ROW}.key_base = {literal(found.key_base)} AND {ROW}.generation IN ({listed})"


def _window(found: FlowDefinition, at: str) -> str:
    return found.window.replace("{at}", f"({at})")


def _grouped(inner: str, splits: Sequence[Split], by: Sequence[str], args: str) -> str:
    shown = f"{args} AS args, kck_start AS start_at, "
    return grouped(inner, splits, by=by, shown=shown, measure="NULL::numeric")
