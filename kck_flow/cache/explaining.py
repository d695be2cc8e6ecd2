"""Why a product is as it is: what ``kck explain`` and the pages tell."""

from __future__ import annotations

from typing import Any

from .. import spread
from ..changes import rows as by_triggers
from ..changes.bodies import quoted
from ..changes.watches import why_not
from ..conf import conf
from ..errors import DeclarationError, UnknownPrimer
from ..key import Key
from ..primer import On, Primer
from ..process import Process
from ..registry import registry
from ..stock import Stock
from ..store import edges, families, pending, products, refreshes, runs
from ..store.refreshes import instant
from ..store.session import Session, caller, loads
from ..timeframe import TimeFrame
from ..topic import Topic
from . import counted, flows, framed, processes, topics
from . import verdict as verdicts

LATEST = 50  # runs among which the last that noted its SQL is looked for


def explain(key: Key) -> dict[str, Any]:
    """Return what is known of a product.

    Returns:
        A dict with ``key``, ``label``, ``declared`` (file:line), ``state``, ``cause`` (why it cannot be
        served or is stale, in words), ``version``, ``computed_at``, ``soft_expires_at``, ``hard_expires_at``,
        ``pending`` (marks and changes on their way), ``needs`` and ``feeds`` (key, mode, version read),
        ``slot`` (lease, want, due, attempts, error, reason), ``paused``, ``next`` (scheduled instants to
        come), ``last_run`` and ``runs``, ``statements`` (the SQL that it was last refreshed by: ``at``, and ``sql``, a
        text and how often it ran each; None where none is noted); of a stock or flow ``counted`` (its table, columns,
        members or ends, deltas waiting), of a stock ``flows`` (into and out of it, with what each moved in the last
        day), and, where no trigger can follow it, ``not_captured``: why, and when it is counted anew, in words; of a
        topic ``messages``: up to when its messages are handled, and how many are set aside.

    Raises:
        UnknownPrimer: neither a primer nor a stored product has this key.
    """
    primer = registry.primers.get(key.key_base)
    of_stock = counted.counted(key)
    flow = flows.counted(key)
    session = caller(spread.alias_of(primer))
    stored = products.read(
        session, key.digest, probe=True, changes=True, dirty=False, limit=conf.PENDING_LIMIT
    )
    if primer is None and stored is None:
        raise UnknownPrimer(registry.unknown(key.key_base))
    verdict, text = verdicts.judge(primer, key, stored)
    refreshed = counted.slot_of(key)
    slots = refreshes.listed(session, digest=key.digest, limit=1)
    if not slots and refreshed is not key:
        slots = refreshes.listed(session, digest=refreshed.digest, limit=1)
    last = runs.last(session, digest=refreshed.digest, limit=5)
    around = edges.around(session, [key.digest], 1)
    family = families.row(session, key.key_base)
    changes = loads(stored.changes) if stored is not None and stored.changes else []
    codec = primer.codec if primer is not None else Primer.codec
    slot = _slot(slots[0]) if slots else None
    return {
        "key": str(key),
        "label": primer.text if primer is not None else str(key),
        "declared": primer.where() if primer is not None else "no primer: set by hand",
        "state": _state(verdict, stored, slot),
        "cause": _cause(primer, key, stored, verdict),
        "value": codec.decode(text) if text is not None and verdict != verdicts.MISSING else None,
        "version": stored.version if stored else 0,
        "computed_at": instant(stored.computed_at) if stored else None,
        "soft_expires_at": instant(stored.soft_expires_at) if stored else None,
        "hard_expires_at": instant(stored.hard_expires_at) if stored else None,
        "pending": {
            "mark": {2: "stale", 1: "refresh"}.get(stored.pending or 0) if stored else None,
            "changes": len(changes),
            "all": pending.count(session),
        },
        "needs": [
            {"key": up, "mode": mode, "version_read": version}
            for up, down, mode, version in around
            if down == key
        ],
        "feeds": [
            {"key": down, "mode": mode, "version_read": version}
            for up, down, mode, version in around
            if up == key
        ],
        "declared_needs": [_declared(primer, on) for on in primer.depends_on] if primer is not None else [],
        "schedule": primer.schedule.describe()
        if primer is not None and primer.schedule is not None
        else None,
        "next": _next(primer, slot),
        "paused": {"since": family[0], "note": family[1]}
        if family is not None and family[0] is not None
        else None,
        "slot": slot,
        "last_run": _run(last[0]) if last else None,
        "runs": [_run(row) for row in last],
        "statements": _statements(session, refreshed),
        **(counted.told(key, *of_stock) if of_stock is not None else {}),
        **({"flows": flows.around(primer)} if isinstance(primer, Stock) else {}),
        **({"not_captured": _recounted(primer)} if isinstance(primer, Stock) and of_stock is None else {}),
        **(flows.told(key, flow) if flow is not None else {}),
        **(processes.told(key, primer) if isinstance(primer, Process) else {}),
        **(topics.told(key, primer, stored) if isinstance(primer, Topic) else {}),
        **(framed.told(key, primer) if isinstance(primer, TimeFrame) else {}),
    }


def _statements(session: Session, key: Key) -> dict[str, Any] | None:
    found = runs.statements(session, key.digest, LATEST)
    return {"at": found[0], "sql": [(text, times) for text, times in found[1]]} if found is not None else None


def _recounted(stock: Stock) -> str:
    """Return why no trigger follows a stock, and when it is counted anew instead."""
    times = []
    if stock.schedule is not None:
        times.append(f"on schedule ({stock.schedule.describe()})")
    if stock.soft_expire is not None or stock.hard_expire is not None:
        times.append("when it has expired")
    when = " and ".join(times) or "when it is refreshed, and not before"
    return f"{counted.why_not(stock, spread.alias_of(stock))}; it is counted anew {when}"


def _state(verdict: str, stored: Any, slot: dict[str, Any] | None) -> str:
    parked = slot is not None and slot["parked_at"] is not None
    return verdicts.state(
        served=verdict != verdicts.MISSING,
        stale=verdict == verdicts.STALE,
        running=slot is not None and bool(slot["running"]),
        attempts=slot["attempts"] if slot is not None else 0,
        waits=parked
        or (slot is not None and slot["retry_at"] is not None and slot["retry_at"] > slot["now"]),
    )


def _cause(primer: Primer | None, key: Key, stored: Any, verdict: str) -> str:
    if stored is None:
        return "never computed"
    if stored.state == "unset":
        return "unset: nothing is stored" if stored.version else "never computed"
    if primer is not None and stored.primer_version != primer.version:
        return f"computed by version {stored.primer_version} of the primer; it is at {primer.version}"
    if stored.invalid:
        return f"invalidated at {instant(stored.invalid_since)}"
    if stored.hard_expires_at is not None and stored.now >= stored.hard_expires_at:
        return f"past its hard expiry since {instant(stored.hard_expires_at)}"
    if primer is not None and primer.always_fresh:
        return "always_fresh: each read computes"
    if stored.pending == 2:
        return "something it was made from has changed"
    if verdict == verdicts.MISSING:
        return "more changes are waiting than a read applies, or augment failed"
    if stored.pending == 1:
        return "a refresh is wanted: something it was made from has changed"
    if verdict == verdicts.STALE:
        return f"past its soft expiry since {instant(stored.soft_expires_at)}"
    return "fresh"


def _slot(row: tuple[Any, ...]) -> dict[str, Any]:
    names = (
        "id",
        "key",
        "key_base",
        "lane",
        "due_at",
        "want",
        "have",
        "running",
        "owner",
        "attempts",
        "crashes",
        "retry_at",
        "last_error",
        "last_error_at",
        "parked_at",
        "parked_why",
        "reason",
        "requested_at",
        "nominal",
        "started_at",
        "finished_at",
        "cost_ms",
        "progress",
        "token",
        "now",
        "schedule_digest",
    )
    return dict(zip(names, row, strict=True)) | {"progress": loads(row[22])}


def _run(row: tuple[Any, ...]) -> dict[str, Any]:
    names = (
        "id",
        "key",
        "outcome",
        "reason",
        "started_at",
        "seconds",
        "version",
        "bytes",
        "worker",
        "error",
        "nominal",
        "traceback",
        "causes",
    )
    return dict(zip(names, row, strict=True)) | {"causes": loads(row[12])}


def _next(primer: Primer | None, slot: dict[str, Any] | None) -> list[Any]:
    if primer is None or primer.schedule is None or slot is None:
        return []
    found, at = [], slot["nominal"] or slot["now"]
    if slot["nominal"] is not None:
        found.append(slot["nominal"])
    while len(found) < 5:
        at = primer.schedule.next(at)
        if at is None:
            break
        found.append(at)
    return found


def lineage(key: Key, levels: int = 2) -> tuple[list[tuple[str, int, str]], list[tuple[str, int, str]]]:
    """Return what a product was made from and what was made from it, as recorded: (key, steps away, mode) each, the
    nearest first, each product once.

    Args:
        levels: How many steps are followed on each side.
    """
    session = caller(spread.alias_of(registry.primers.get(key.key_base)))
    rows = edges.around(session, [key.digest], levels)
    up: dict[str, list[tuple[str, str]]] = {}
    down: dict[str, list[tuple[str, str]]] = {}
    for upstream, downstream, mode, _version in rows:
        up.setdefault(downstream, []).append((upstream, mode))
        down.setdefault(upstream, []).append((downstream, mode))
    return _walk(str(key), up, levels), _walk(str(key), down, levels)


def lineage_edges(key: Key, levels: int) -> list[tuple[str, str]]:
    """Return who was made from whom around a product, as recorded: (needed, made of it) each, by key.

    Args:
        levels: How many steps are followed on each side.
    """
    session = caller(spread.alias_of(registry.primers.get(key.key_base)))
    return [(row[0], row[1]) for row in edges.around(session, [key.digest], levels)]


def _walk(key: str, steps: dict[str, list[tuple[str, str]]], levels: int) -> list[tuple[str, int, str]]:
    found: dict[str, tuple[int, str]] = {}
    edge = [key]
    for level in range(1, levels + 1):
        beyond = []
        for one in edge:
            for other, mode in steps.get(one, ()):
                if other != key and other not in found:
                    found[other] = level, mode
                    beyond.append(other)
        edge = beyond
    return [(one, level, mode) for one, (level, mode) in found.items()]


def graph(keys: list[Key] | None = None, *, depth: int = 3, limit: int = 2000) -> list[tuple[str, str, str]]:
    """Return edges (upstream, downstream, mode): recorded ones near some products, or all; and declared ones
    by name.
    """
    found: dict[tuple[str, str], str] = {}
    aliases = {spread.alias_of(primer) for primer in registry.unique()} | set(conf.DATABASES)
    for alias in sorted(aliases):
        session = caller(alias)
        rows = (
            edges.around(session, [key.digest for key in keys], depth)
            if keys
            else edges.every(session, limit)
        )
        for upstream, downstream, mode, _ in rows:
            found[upstream, downstream] = mode
    bases = {key.key_base for key in keys} if keys else None
    for primer in registry.unique():
        for on in primer.depends_on:
            name = _source_name(on)
            if bases is None or primer.name in bases or name in bases:
                found.setdefault((name, primer.name), on.then)
    return [(upstream, downstream, mode) for (upstream, downstream), mode in sorted(found.items())]


def _declared(primer: Primer, on: On) -> str:
    """Return an edge for people, and, of one on a model, whose writes are noticed."""
    if on.is_product() or (on.model is None and not _is_model(on)):
        return repr(on)
    assert on.model is not None
    alias = spread.alias_of(primer)
    why = why_not(primer, on, alias)
    relation = quoted(on.model._meta.db_table)
    if not why and f"{primer.name}:{on.then}" in by_triggers.served(caller(alias), relation):
        return f"{on!r} (whoever writes)"
    return f"{on!r} (saved and deleted by this application: {why or 'triggers come with manage.py migrate'})"


def _is_model(on: On) -> bool:
    try:
        registry.resolve(on)
    except DeclarationError:
        return False  # told by the checks
    return on.model is not None


def _source_name(on: On) -> str:
    if on.model is None and on.source_base is None:
        registry.resolve(on)
    return on.model._meta.label if on.model is not None else str(on.source_base)
