"""Values by key: the entry of each product."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from .. import clock
from ..key import Key
from .session import Session, dumps, loads, statement, text_of

# What waits for the product: at most this many changes are carried by a read (core.md, decision 17).
_ON_ITS_WAY = """q.key_base = p.key_base AND (q.digest = p.digest OR q.digest IS NULL
 AND (q.args IS NULL OR p.params @> q.args)) AND NOT coalesce(p.pending_seen @> to_jsonb(q.id), false)"""
_PROBE = f"""(SELECT max(CASE q.kind WHEN 'stale' THEN 2 WHEN 'refresh' THEN 1 ELSE 0 END)
 FROM kck_pending q WHERE {_ON_ITS_WAY})"""
_CHANGES = """(SELECT jsonb_agg(jsonb_build_array(c.id, c.change, c.source) ORDER BY c.id) FROM (
  SELECT q.id, q.change, q.source FROM kck_pending q
  WHERE q.key_base = p.key_base AND q.digest = p.digest AND q.kind = 'change'
  AND NOT coalesce(p.applied @> (q.change -> 'id'), false) ORDER BY q.id LIMIT %(limit)s) c)"""
# Ids of the changes that a value contains, kept with it: the last ones, since they are written with each fold.
APPLIED = 200
_DIRTY = """(pg_current_xact_id_if_assigned() IS NOT NULL
 OR current_setting('transaction_isolation') <> 'read committed')"""


@dataclass(slots=True)
class Stored:
    """A product's row as one snapshot saw it. Instants are POSIX seconds; ``value`` is the codec's text or
    None.

    Attributes:
        pending: 2 when a change that makes it unservable is on its way, 1 for one that only wants a refresh,
            else 0.
        changes: Changes to fold in, ``[id, change, source]`` each, oldest first.
        dirty: Whether the reading transaction has written, or has a snapshot of its own.
    """

    value: str | None
    state: str
    version: int
    epoch: int
    primer_version: int
    sourced: bool
    computed_at: float | None
    soft_expires_at: float | None
    hard_expires_at: float | None
    invalid_since: float | None
    now: float
    pending: int | None
    changes: Any
    dirty: bool
    key: str

    @property
    def invalid(self) -> bool:
        """Whether it was invalidated since it was computed."""
        return self.invalid_since is not None


@dataclass(slots=True)
class Seen:
    """What a compute that begins now has seen of its product: the fence of its publish."""

    version: int = 0
    epoch: int = 0
    state: str = "unset"
    value: str | None = None
    sourced: bool = False
    computed_at: float | None = None
    soft_expires_at: float | None = None
    hard_expires_at: float | None = None
    invalid: bool = False
    primer_version: int = 0
    now: float = 0.0
    family_pending: Any = None
    causes: Any = None
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """What came of a write: the version now stored, and whether it differs from the one before."""

    version: int
    changed: bool
    stale: bool
    computed_at: float
    soft_expires_at: float | None
    hard_expires_at: float | None
    invalid: bool


def _parts(probe: bool, changes: bool, dirty: bool, one: str) -> dict[str, str]:
    return {
        "probe": _PROBE if probe else "0",
        "changes": _CHANGES if changes else "NULL",
        "dirty": _DIRTY if dirty else "false",
        "one": one,
    }


_PLANS: dict[tuple[bool, bool, bool, bool], dict[str, str]] = {
    (probe, changes, dirty, many): _parts(probe, changes, dirty, "ANY(%(digest)s)" if many else "%(digest)s")
    for probe in (False, True)
    for changes in (False, True)
    for dirty in (False, True)
    for many in (False, True)
}


# Marks that some have seen already are left to the long way.
_CALM = """NOT EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = '{key_base}' AND q.digest = '{digest}')
 AND NOT EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = '{key_base}' AND q.digest IS NULL)"""
_CALM_MANY = """NOT EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = p.key_base AND q.digest = p.digest)
 AND NOT EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = p.key_base AND q.digest IS NULL)"""


@dataclass(frozen=True, slots=True)
class _Hot:
    """The hot read of one family: said in full, and as a prepared statement; the key's digest goes between pieces.

    Attributes:
        plain: The statement, split where the digest belongs.
        prepared: The statement to prepare; every family's is the same.
        rest: The parameters after the digest, and the closing parenthesis.
    """

    plain: Sequence[str]
    prepared: str
    rest: str


_hot: dict[tuple[str, int, bool], _Hot] = {}


def _hot_read(key_base: str, primer_version: int, probe: bool) -> _Hot:
    name = (key_base, primer_version, probe)
    found = _hot.get(name)
    if found is None or clock.is_moved():
        base, version = key_base.replace("'", "''"), str(int(primer_version))
        text = statement("fresh", calm=_CALM if probe else "NOT p.sourced")
        plain = text.replace("{primer_version}", version).replace("{key_base}", base)
        general = (
            text.replace("'{digest}'", "$1").replace("{primer_version}", "$2").replace("'{key_base}'", "$3")
        )
        rest = f"',{version},'{base}')" if probe else f"',{version})"
        found = _Hot(plain.split("{digest}"), general, rest)
        if not clock.is_moved():
            _hot[name] = found
    return found


def fresh(session: Session, key: Key, primer_version: int, *, probe: bool) -> str | None:
    """Return the value text of a product that may be served as it is, else None: then ``read`` decides."""
    hot, digest = _hot_read(key.key_base, primer_version, probe), key.digest_text
    name = session.prepared_name(hot.prepared)
    if name is None:
        row = session.first(digest.join(hot.plain))
    else:
        row = session.unless_gone(
            lambda: session.first(f"EXECUTE {name}('{digest}{hot.rest}"),
            lambda: session.first(digest.join(hot.plain)),
        )
    return row[0] if row is not None else None


# What a representation of a stored value stands and falls with: recomputed to the same, it has another age.
_STAMP = """p.version || '-' || to_hex((extract(epoch FROM p.computed_at) * 1000000)::bigint) || '-'
 || coalesce(to_hex((extract(epoch FROM coalesce(p.soft_expires_at, p.hard_expires_at)) * 1000000)::bigint), '')"""


@dataclass(slots=True)
class Plain:
    """A product that may be served as it is, for who passes it on. Instants are POSIX seconds.

    Attributes:
        text: Its plain JSON; None where its stamp is known already.
        stamp: Differs whenever the version or one of the instants does.
    """

    version: int
    computed_at: float
    soft_expires_at: float | None
    hard_expires_at: float | None
    text: str | None
    stamp: str


_plain: dict[bool, tuple[str, str]] = {}


def _plain_read(probe: bool) -> tuple[str, str]:
    """Return the statement in full, with pieces to fill in, and as it is prepared."""
    found = _plain.get(probe)
    if found is None or clock.is_moved():
        text = statement("fresh_plain", calm=_CALM if probe else "NOT p.sourced", stamp=_STAMP)
        pieces = ("'{digest}'", "$1"), ("'{known}'", "$2"), ("{primer_version}", "$3"), ("'{key_base}'", "$4")
        prepared = text
        for piece, number in pieces:
            prepared = prepared.replace(piece, number)
        found = text, prepared
        if not clock.is_moved():
            _plain[probe] = found
    return found


def fresh_plain(session: Session, key: Key, primer_version: int, *, probe: bool, known: str) -> Plain | None:
    """Return a product that may be served as it is, else None: then ``read`` decides.

    Args:
        known: A stamp; only of one that is another the value is read. Digits, letters and hyphens.
    """
    text, prepared = _plain_read(probe)
    version, base = str(int(primer_version)), key.key_base.replace("'", "''")
    name = session.prepared_name(prepared)

    def in_full() -> tuple[Any, ...] | None:
        return session.first(
            text.replace("{digest}", key.digest_text)
            .replace("{known}", known)
            .replace("{primer_version}", version)
            .replace("{key_base}", base)
        )

    if name is None:
        row = in_full()
    else:
        rest = f",'{base}')" if probe else ")"
        row = session.unless_gone(
            lambda: session.first(f"EXECUTE {name}('{key.digest_text}','{known}',{version}{rest}"), in_full
        )
    return Plain(*row) if row is not None else None


def fresh_many(session: Session, keys: Iterable[Key], *, probe: bool) -> dict[str, tuple[int, str]]:
    """Return (primer version, value text) of those of many products that may be served as they are, by key text."""
    text = statement("fresh_many", calm=_CALM_MANY if probe else "NOT p.sourced")
    digests = f"{{{','.join(key.digest_text for key in keys)}}}"
    plain = text.replace("{digests}", digests)
    name = session.prepared_name(text.replace("'{digests}'", "$1"))
    if name is None:
        rows = session.run(plain)
    else:
        rows = session.unless_gone(
            lambda: session.run(f"EXECUTE {name}('{digests}')"), lambda: session.run(plain)
        )
    return {row[0]: (row[1], row[2]) for row in rows}


def read(
    session: Session, digest: UUID, *, probe: bool, changes: bool, dirty: bool, limit: int
) -> Stored | None:
    """Return the product as this session's snapshot sees it, or None where it was never stored: one
    statement.
    """
    row = session.first(
        statement("read", **_PLANS[probe, changes, dirty, False]), {"digest": digest, "limit": limit + 1}
    )
    return Stored(*row) if row else None


def read_many(
    session: Session, digests: Sequence[UUID], *, probe: bool, changes: bool, dirty: bool, limit: int
) -> dict[str, Stored]:
    """Return the stored ones among many products, by key text: one statement, one snapshot."""
    rows = session.run(
        statement("read", **_PLANS[probe, changes, dirty, True]),
        {"digest": list(digests), "limit": limit + 1},
    )
    found = [Stored(*row) for row in rows]
    return {row.key: row for row in found}


def begin(session: Session, key: Key, args: Mapping[str, Any]) -> Seen:
    """Begin a computation: consume the product's marks and return what has been seen of it."""
    params = {"digest": key.digest, "key": str(key), "key_base": key.key_base, "args": dumps(dict(args))}
    row = session.row("begin_calm", params, calm=text_of("calm")) or session.row("begin", params)
    assert row is not None
    found = Seen(*row[:11]) if row[0] is not None else Seen(now=row[10])
    found.family_pending, found.causes, found.marked = loads(row[11]), loads(row[12]), row[13]
    return found


@dataclass(frozen=True, slots=True)
class Computed:
    """A computed value, ready to be stored; durations in seconds from now, None for never.

    Attributes:
        unread: Sources (key bases, model labels) that are declared and were not read: their marks always count.
        moved: Whether something that was read has changed since.
    """

    args: Mapping[str, Any]
    value: str | None
    public: str | None
    state: str
    primer_version: int
    sourced: bool
    soft: float | None
    hard: float | None
    unread: Sequence[str] = ()
    moved: bool = False

    def params(self, key: Key, seen: Seen) -> dict[str, Any]:
        """Return the parameters of ``put.sql``."""
        return {
            "digest": key.digest,
            "key": str(key),
            "key_base": key.key_base,
            "params": dumps(dict(self.args)),
            "value": self.value,
            "public": self.public,
            "state": self.state,
            "version": seen.version,
            "epoch": seen.epoch,
            "primer_version": self.primer_version,
            "sourced": self.sourced,
            "unread": list(self.unread),
            "moved": self.moved,
            "seen": dumps(seen.family_pending),
            "soft": self.soft,
            "hard": self.hard,
        }


def put(session: Session, key: Key, computed: Computed, seen: Seen) -> Published | None:
    """Store a computed value over the row it began from; None when that row has moved (it is superseded)."""
    row = session.row("put", computed.params(key, seen), gate="", moved=text_of("moved"))
    return Published(*row) if row else None


def write(
    session: Session,
    key: Key,
    *,
    args: Mapping[str, Any],
    value: str | None,
    public: str | None,
    state: str,
    primer_version: int,
    soft: float | None,
    hard: float | None,
    expected: int | None,
) -> tuple[Published, int, int] | None:
    """Set a value in this session's transaction; returns (what is stored, how many readers it marked, the epoch), or
    None when ``expected`` is not the stored version.
    """
    params = {
        "digest": key.digest,
        "key": str(key),
        "key_base": key.key_base,
        "params": dumps(dict(args)),
        "value": value,
        "public": public,
        "state": state,
        "primer_version": primer_version,
        "soft": soft,
        "hard": hard,
        "expected": expected,
    }
    row = session.row("write_alone", params) if expected is None else None
    if row is None:
        row = session.row("write", params)
    return (Published(row[0], True, False, *row[1:5]), row[5], row[6]) if row else None


@dataclass(frozen=True, slots=True)
class Locked:
    """A product's row, locked until the end of the transaction."""

    version: int
    state: str
    value: str | None
    epoch: int
    applied: list[str]
    invalid: bool
    primer_version: int
    now: float


def lock(session: Session, digest: UUID) -> Locked | None:
    """Lock a product's row and return it, or None where there is none."""
    row = session.row("lock_product", {"digest": digest})
    return Locked(row[0], row[1], row[2], row[3], loads(row[4]) or [], *row[5:]) if row else None


def unset(session: Session, key: Key, args: Mapping[str, Any]) -> tuple[int, bool]:
    """Leave a tombstone; returns (version, whether a value was stored)."""
    row = session.row(
        "unset",
        {"digest": key.digest, "key": str(key), "key_base": key.key_base, "params": dumps(dict(args))},
    )
    assert row is not None
    return row[0], row[1]


def invalidate(session: Session, key: Key, args: Mapping[str, Any]) -> tuple[int, bool]:
    """Make what is stored unservable; returns (version, whether a value was stored)."""
    row = session.row(
        "invalidate",
        {"digest": key.digest, "key": str(key), "key_base": key.key_base, "params": dumps(dict(args))},
    )
    assert row is not None
    return row[0], row[1]


def invalidate_family(
    session: Session, key_base: str, args: Mapping[str, Any] | None, *, mark: int | None = None
) -> list[tuple[UUID, str]]:
    """Make all stored products of a family, or those with these parameters, unservable; returns (digest, key) each.

    Args:
        mark: The mark that says so, when it is drained: what was computed in its knowledge is left alone.
    """
    rows = session.rows("invalidate_family", {"key_base": key_base, "args": dumps(args), "mark": mark})
    return [(row[0], row[1]) for row in rows if row[2]]


def patch(session: Session, digest: UUID, path: Sequence[str], part: str) -> tuple[Published, str] | None:
    """Replace the part of a JSON value at ``path``; returns what is stored now and its text, or None (no such
    place).
    """
    row = session.row("patch", {"digest": digest, "path": list(path), "part": part})
    return (Published(row[0], True, False, row[2], row[3], row[4], row[5]), row[1]) if row else None


def fold(
    session: Session,
    key: Key,
    *,
    value: str | None,
    public: str | None,
    state: str,
    changed: bool,
    applied: Iterable[str],
    soft: float | None,
    hard: float | None,
) -> Published:
    """Store an augmented value; the row is locked by this transaction."""
    row = session.row(
        "fold_product",
        {
            "digest": key.digest,
            "value": value,
            "public": public,
            "state": state,
            "changed": changed,
            "applied": json.dumps(list(applied)),
            "soft": soft,
            "hard": hard,
        },
    )
    assert row is not None
    return Published(*row)


def remember_applied(session: Session, digest: UUID, ids: Sequence[str]) -> None:
    """Remember that a product contains some changes: delivered once more they do not count again."""
    if ids:
        session.rows("remember_applied", {"digest": digest, "ids": json.dumps(list(ids)), "most": APPLIED})


def is_set(session: Session, digest: UUID) -> bool:
    """Whether a value is stored, fresh or not."""
    return bool(
        session.run(
            "SELECT EXISTS (SELECT 1 FROM kck_product WHERE digest = %s AND state <> 'unset')", [digest]
        )[0][0]
    )


def listed(
    session: Session, *, key_base: str | None = None, prefix: str = "", limit: int = 1000, after: str = ""
) -> list[tuple[Any, ...]]:
    """Return rows for the listings, by key: digest, key, key_base, state, version, instants, size, slot."""
    return session.rows(
        "list_products", {"key_base": key_base, "prefix": prefix, "limit": limit, "after": after}
    )


def read_on_a_day(session: Session, digests: Iterable[str], *, ago: float) -> None:
    """Remember the day, so many seconds ago, on which products were read; each is written once a day."""
    session.rows("read_on_a_day", {"digests": list(digests), "ago": ago})


def soften(session: Session, digests: Sequence[UUID]) -> None:
    """Let stored products count as stale from now on: served, and a refresh is wanted."""
    session.run(statement("soften"), {"digests": list(digests)})


def soften_family(
    session: Session, key_base: str, args: Mapping[str, Any] | None, *, mark: int | None = None
) -> list[str]:
    """The same for a family, or those whose parameters contain ``args``; returns their keys."""
    params = {"key_base": key_base, "args": dumps(args), "mark": mark}
    return [row[0] for row in session.rows("soften_family", params)]


def fence_missing(session: Session, digest: UUID, key: str, key_base: str) -> None:
    """Leave a tombstone where nothing is stored, so that a computation that began before is refused."""
    session.rows("fence_missing", {"digest": digest, "key": key, "key_base": key_base})


# -- products that messages feed
# -------------------------------------------------------------------------------------------


def held_for_writing(
    session: Session, keys: Sequence[Key], args: Sequence[Mapping[str, Any]]
) -> list[str | None]:
    """Hold the rows of some products until the transaction ends, made where there are none; returns their texts.

    Whoever holds some of them waits for nobody who waits for him: they are taken in one order.
    """
    digests = [key.digest for key in keys]
    known = session.rows("lock_products", {"digests": digests})
    if len(known) < len(keys):
        there = {row[0] for row in known}
        new = [place for place, key in enumerate(keys) if key.digest not in there]
        session.rows(
            "hold_products",
            {
                "digests": [digests[place] for place in new],
                "keys": [str(keys[place]) for place in new],
                "key_bases": [keys[place].key_base for place in new],
                "params": [dumps(dict(args[place])) for place in new],
            },
        )
        known = session.rows("lock_products", {"digests": digests})
    texts = {row[0]: row[1] for row in known}
    return [texts[digest] for digest in digests]


def put_many(
    session: Session, values: Sequence[tuple[Key, str | None, str | None]], *, primer_version: int
) -> dict[Key, tuple[int, float]]:
    """Give new values to products that this transaction holds, (key, text, public text) each; returns of each its
    version and when it was made (POSIX seconds).
    """
    by_digest = {key.digest: key for key, _, _ in values}
    rows = session.rows(
        "put_products",
        {
            "digests": [key.digest for key, _, _ in values],
            "values": [text for _, text, _ in values],
            "publics": [public for _, _, public in values],
            "primer_version": primer_version,
        },
    )
    return {by_digest[digest]: (version, at) for digest, version, at in rows}


def texts_of(session: Session, key_base: str) -> list[str]:
    """Return the keys of a family's products that have a value."""
    rows = session.run(
        "SELECT key FROM kck_product WHERE key_base = %(key_base)s AND state <> 'unset' ORDER BY key",
        {"key_base": key_base},
    )
    return [row[0] for row in rows]


def empty(session: Session, digests: Sequence[UUID]) -> int:
    """Take the values of products away; their versions go on. Returns how many had one."""
    rows = session.run(
        "UPDATE kck_product SET state = 'unset', value = NULL, public = NULL, version = version + 1, "
        "computed_at = NULL WHERE digest IN (SELECT digest FROM kck_product "
        "WHERE digest = ANY(%(digests)s::uuid[]) AND state <> 'unset' ORDER BY digest FOR UPDATE) RETURNING 1",
        {"digests": list(digests)},
    )
    return len(rows)


def texts_by_digest(session: Session, digests: Sequence[UUID]) -> dict[UUID, str]:
    """Return the values' texts of those of some products that have one."""
    rows = session.run(
        "SELECT digest, value::text FROM kck_product WHERE digest = ANY(%(digests)s::uuid[]) AND state = 'value'",
        {"digests": list(digests)},
    )
    return dict(rows)
