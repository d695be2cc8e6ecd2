"""The oracle: writers, counts, folds, thieves and kills at random; every stock compared with a recount in one snapshot.

    python -m tests.counting.oracle 600 [MUTANT]

Each role is a process of its own. A mutant is the protocol with one part taken out; the oracle has earned its place as
long as it finds every one of them wrong.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.harness import points

PLANS = ["pro", "free", None, "", "x" * 1200]
STATES = ["active", "trial", "closed"]
STOCKS = ("active", "everyone", "branch_accounts", "holding", "money", "recent_money")
FAMILIES = (*STOCKS, "crates")
LEVELS = ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


FLOWS = ("signing_up", "converting", "departing", "branch_arrivals/1", "branch_arrivals/2")
# What flows are held against: each row's change, told by a trigger of the simplest kind. A changed primary key is told
# as one row that goes and another that comes, which is what a flow takes it for.
LOG = """
CREATE TABLE IF NOT EXISTS oracle_log (was text, now text, was_branch bigint, now_branch bigint, plan text);
CREATE OR REPLACE FUNCTION oracle_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.id = NEW.id THEN
        INSERT INTO oracle_log VALUES (OLD.state, NEW.state, OLD.branch_id, NEW.branch_id, NEW.plan);
    ELSE
        IF TG_OP <> 'INSERT' THEN
            INSERT INTO oracle_log VALUES (OLD.state, NULL, OLD.branch_id, NULL, OLD.plan);
        END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO oracle_log VALUES (NULL, NEW.state, NULL, NEW.branch_id, NEW.plan);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER oracle_log AFTER INSERT OR UPDATE OR DELETE ON accounts_account
FOR EACH ROW EXECUTE FUNCTION oracle_tell();
ALTER TABLE accounts_account ENABLE ALWAYS TRIGGER oracle_log;
"""
LOGGED = {
    "signing_up": "was IS NULL AND now IN ('trial', 'active')",
    "converting": "was = 'trial' AND now = 'active'",
    "departing": "was IN ('trial', 'active') AND (now = 'closed' OR now IS NULL)",
    **{
        f"branch_arrivals/{pk}": f"now = 'active' AND now_branch = {pk} "
        f"AND (was IS NULL OR was IN ('trial', 'closed') OR was_branch IS DISTINCT FROM {pk})"
        for pk in (1, 2)
    },
}


@dataclass
class Report:
    """What came of a run.

    Attributes:
        checks: Keys compared with a recount.
        wrong: Those that differed, in words (the first hundred).
        counts: What the roles did, by name.
    """

    checks: int = 0
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, told: dict[str, Any]) -> None:
        self.checks += told.get("checks", 0)
        self.wrong += told.get("wrong", [])
        self.counts.update(told.get("counts", {}))

    def __str__(self) -> str:
        done = ", ".join(f"{name} {number:,}" for name, number in sorted(self.counts.items()))
        return f"{self.checks:,} checks, {len(self.wrong)} wrong; {done}"


def prepare() -> None:
    """Put the branches there that accounts are in."""
    from tests.accounts.models import Branch

    Branch.objects.bulk_create([Branch(pk=pk, name=str(pk)) for pk in (1, 2, 3)], ignore_conflicts=True)
    _sql("SELECT setval('accounts_branch_id_seq', 100)")
    _sql(LOG)
    from tests.counting import crates

    crates.prepare()


def _while_it_lasts(seconds: float) -> Iterator[None]:
    """Go on for so long, once all are there, or until the run has seen enough; each role ends what it has begun."""
    points.stop_at("ready")
    until = time.monotonic() + seconds
    while time.monotonic() < until and not points.is_open("enough"):
        yield


# -- writers
# ----------------------------------------------------------------------------------------------------------


def writer(seconds: float, seed: int) -> dict[str, Any]:
    """Change accounts through every door, in transactions of every kind."""
    from django.db import DatabaseError, connection

    pick = random.Random(seed)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    checks = 0
    for _ in _while_it_lasts(seconds):
        level = pick.choice(LEVELS)
        try:
            if pick.random() < 0.3:
                _write(pick)
                counts["autocommit"] += 1
            elif pick.random() < 0.1:
                _prepare(pick, counts)
            else:
                with _transaction(level):
                    for _ in range(pick.randint(1, 4)):
                        if pick.random() < 0.3:
                            with contextlib.suppress(_Undone), _savepoint():
                                _write(pick)
                                if pick.random() < 0.4:
                                    raise _Undone
                        else:
                            _write(pick)
                        if pick.random() < 0.2:
                            time.sleep(pick.random() * 0.02)
                    if level != "READ COMMITTED" and pick.random() < 0.5:
                        # Our own work is in our own snapshot: what we read must be what we count.
                        told = compare(pick, some=2)
                        checks += told[0]
                        wrong += [f"in a {level} writer: {one}" for one in told[1]]
                        if told[1]:
                            points.say("wrong")
                    if pick.random() < 0.25:
                        raise _Undone
                counts["committed"] += 1
        except _Undone:
            counts["rolled back"] += 1
        except DatabaseError as error:
            counts[f"refused {_sqlstate(error)}"] += 1
            connection.rollback() if not connection.in_atomic_block else None
    return {"counts": counts, "checks": checks, "wrong": wrong[:20]}


class _Undone(Exception):
    pass


def _sqlstate(error: BaseException) -> str:
    cause = error.__cause__
    return str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None))


@contextlib.contextmanager
def _transaction(level: str) -> Iterator[None]:
    from django.db import connection, transaction

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            # To a snapshot older than a TRUNCATE the table is empty all the same, unless it was locked before; a
            # partition that is detached just now, too.
            cursor.execute(
                "LOCK TABLE accounts_account, crates, crates_near, crates_far IN ACCESS SHARE MODE"
            )
        yield


@contextlib.contextmanager
def _savepoint() -> Iterator[None]:
    from django.db import transaction

    with transaction.atomic():
        yield


def _prepare(pick: random.Random, counts: Counter[str]) -> None:
    """A transaction in two phases, whose second comes later or never (then somebody rolls it back)."""
    from django.db import connection

    name = f"oracle {os.getpid()} {pick.random()}"
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            pick.choice(PLAIN)(pick)
            cursor.execute(f"PREPARE TRANSACTION '{name}'")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        # Now and then over more than twenty folds.
        time.sleep(pick.choice([0.05, 0.1, 1.0]) * pick.random())
        word = "COMMIT" if pick.random() < 0.7 else "ROLLBACK"
        cursor.execute(f"{word} PREPARED '{name}'")
    counts[f"{word.lower()} prepared"] += 1


def _soon(pick: random.Random) -> str:
    return (datetime.now(UTC) + timedelta(seconds=pick.uniform(-3.5, 1.5))).isoformat()


def _account(pick: random.Random) -> dict[str, Any]:
    return {
        "state": pick.choice(STATES),
        "plan": pick.choice(PLANS),
        "vip": pick.random() < 0.3,
        "balance": f"{pick.randint(-500, 500)}.{pick.randint(0, 99):02d}",
        "points": pick.randint(0, 3),
        "branch_id": pick.choice([None, 1, 2, 3]),
        "joined_at": pick.choice(
            [None, "2024-12-31T23:30:00Z", "2025-01-01T00:00:00Z", _soon(pick), _soon(pick)]
        ),
        "deleted_at": pick.choice([None, None, "2025-06-01T00:00:00Z"]),
    }


def _write(pick: random.Random) -> None:
    from tests.counting import crates

    if pick.random() < 0.15:
        crates.write(pick)
    else:
        pick.choice(WAYS)(pick)


def _save(pick: random.Random) -> None:
    from tests.accounts.models import Account

    Account(**_account(pick)).save()


def _edit(pick: random.Random) -> None:
    from tests.accounts.models import Account

    found = Account.objects.order_by("?").first()
    if found is not None:
        for name, value in pick.sample(list(_account(pick).items()), 2):
            setattr(found, name, value)
        found.save()


def _bulk(pick: random.Random) -> None:
    from tests.accounts.models import Account

    Account.objects.bulk_create([Account(**_account(pick)) for _ in range(pick.randint(1, 30))])


def _update(pick: random.Random) -> None:
    from tests.accounts.models import Account

    name, value = pick.choice(list(_account(pick).items()))
    some = Account.objects.filter(pk__gte=_some_pk(pick)).order_by("pk").values("pk")[: pick.randint(1, 20)]
    Account.objects.filter(pk__in=list(some.values_list("pk", flat=True))).update(**{name: value})


def _untracked(pick: random.Random) -> None:
    from tests.accounts.models import Account

    Account.objects.filter(pk__lte=_some_pk(pick) + 10, pk__gte=_some_pk(pick)).update(
        note=str(pick.random())
    )


def _delete(pick: random.Random) -> None:
    from tests.accounts.models import Account

    some = Account.objects.filter(pk__gte=_some_pk(pick)).order_by("pk")[: pick.randint(1, 10)]
    Account.objects.filter(pk__in=list(some.values_list("pk", flat=True))).delete()


def _some_pk(pick: random.Random) -> int:
    from django.db.models import Max

    from tests.accounts.models import Account

    return pick.randint(1, (Account.objects.aggregate(last=Max("pk"))["last"] or 1))


def _raw(pick: random.Random) -> None:
    _sql(
        "UPDATE accounts_account SET state = %s, points = points + 1 WHERE id %% 50 = %s",
        pick.choice(STATES),
        pick.randint(0, 49),
    )


def _move_key(pick: random.Random) -> None:
    pk = _some_pk(pick)
    _sql("UPDATE accounts_account SET id = nextval('accounts_account_id_seq') WHERE id = %s", pk)


def _copy(pick: random.Random) -> None:
    from django.db import connection

    given = "accounts_account (state, vip, balance, points, note)"
    rows = "".join(
        f"{pick.choice(STATES)}\tf\t{pick.randint(0, 9)}.5\t{pick.randint(0, 3)}\t\n"
        for _ in range(pick.randint(0, 10))
    )
    connection.ensure_connection()
    with connection.cursor() as cursor, connection.wrap_database_errors:
        raw = cursor.cursor
        if hasattr(raw, "copy_expert"):
            raw.copy_expert(f"COPY {given} FROM STDIN", io.StringIO(rows))
        else:
            with raw.copy(f"COPY {given} FROM STDIN") as copy:
                copy.write(rows)


def _upsert(pick: random.Random) -> None:
    from tests.accounts.models import Account

    rows = [Account(pk=_some_pk(pick) + step, **_account(pick)) for step in range(pick.randint(1, 5))]
    Account.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["id"], update_fields=["state", "plan", "balance"]
    )
    _sql(
        "SELECT setval('accounts_account_id_seq', greatest(max(id), nextval('accounts_account_id_seq'))) "
        "FROM accounts_account"
    )


def _merge(pick: random.Random) -> None:
    pk = _some_pk(pick)
    _sql(
        "MERGE INTO accounts_account a USING (SELECT g FROM generate_series(%s::bigint, %s::bigint) g) s ON a.id = s.g "
        "WHEN MATCHED AND a.state = 'trial' THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET plan = %s, balance = balance + 1 "
        "WHEN NOT MATCHED THEN INSERT (state, vip, balance, points, note) VALUES ('active', true, 2.25, 1, '')",
        pk,
        pk + pick.randint(0, 6),
        pick.choice(PLANS),
    )


def _truncate(pick: random.Random) -> None:
    if pick.random() < 0.02:
        _sql("TRUNCATE accounts_account")


def _cascade(pick: random.Random) -> None:
    from tests.accounts.models import Account, Branch

    branch = Branch.objects.create(name="passing")
    Account.objects.bulk_create([Account(**{**_account(pick), "branch_id": branch.pk}) for _ in range(3)])
    branch.delete()


def _sql(statement: str, *parameters: Any) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


WAYS: list[Callable[[random.Random], None]] = [
    _save, _save, _edit, _edit, _bulk, _update, _update, _untracked, _delete, _raw, _move_key, _copy, _upsert, _merge,
    _truncate, _cascade,
]  # fmt: skip


# Those that begin no transaction of Django's own.
PLAIN: list[Callable[[random.Random], None]] = [_raw, _merge, _move_key, _copy, _update]


# -- the cache's side
# --------------------------------------------------------------------------------------------------


def computer(seconds: float, seed: int, mutant: str = "") -> dict[str, Any]:
    """Count families anew, with pauses between what a count sees and what it publishes."""
    from django.db import DatabaseError

    from kck_flow.cache import recount
    from kck_flow.store import levels, private

    pick = random.Random(seed)
    publish = levels.publish

    def slowly(*arguments: Any) -> bool:
        time.sleep(pick.choice([0, 0, 0.01, 0.05, 0.2]))
        return publish(*arguments)

    stage = levels.stage

    def stage_slowly(*arguments: Any) -> Any:
        time.sleep(pick.choice([0, 0.01, 0.05, 0.2]))
        return stage(*arguments)

    publish_staged = levels.publish_staged

    def publish_staged_at_last(session: Any, *arguments: Any) -> bool:
        if pick.random() < 0.2:  # as if it were the victim of a deadlock
            session.run("DO $$ BEGIN RAISE EXCEPTION 'oracle' USING ERRCODE = '40P01'; END $$")
        return publish_staged(session, *arguments)

    levels.publish, levels.stage = slowly, stage_slowly
    levels.publish_staged = publish_staged_at_last
    # Each way of counting in turn; a mutant is of the one or the other.
    cuts = 0.5 if not mutant else float(mutant in CUT_MUTANTS)
    recount._takes_long = lambda *_: pick.random() < cuts  # type: ignore[assignment]
    MUTANTS.get(mutant, lambda: None)()
    counts: Counter[str] = Counter()
    for _ in _while_it_lasts(seconds):
        base = "crates" if mutant in TAMPERED and pick.random() < 0.7 else pick.choice(FAMILIES)
        stock, found, alias = _stock(base)
        try:
            outcome = recount.now(stock, found, alias, reason="oracle", force=True)
        except (private.Busy, DatabaseError) as error:
            outcome = f"error {_sqlstate(error)}"
        counts[f"count {outcome or 'busy'}"] += 1
        time.sleep(pick.random() * 0.05)
    return {"counts": counts}


def folder(seconds: float, seed: int, mutant: str = "") -> dict[str, Any]:
    """Fold, a few deltas at a time, and end what is overdue, as workers do."""
    from django.db import DatabaseError

    from kck_flow.cache import recount
    from kck_flow.store import generations, levels, private, refreshes

    MUTANTS.get(mutant, lambda: None)()
    _rewrite("settle", "interval '1 minute'", "interval '1 second'")
    pick = random.Random(seed)
    counts: Counter[str] = Counter()
    for _ in _while_it_lasts(seconds):
        try:
            with private.session("default") as session:
                if pick.random() < 0.2:
                    refreshes.end_overdue(session)
                    counts["fences ended"] += generations.end_leaseless(
                        session, lambda base: recount.slot_key(base).digest
                    )
                counts["settled"] += levels.settle(session)
                for generation, _ in levels.foldable(session):
                    counts["deltas folded"] += levels.fold(
                        session, [generation], pick.choice([1, 7, 100, 10_000])
                    )
        except (private.Busy, DatabaseError) as error:
            counts[f"fold error {_sqlstate(error)}"] += 1
        time.sleep(pick.random() * 0.01)
    return {"counts": counts}


def thief(seconds: float, seed: int) -> dict[str, Any]:
    """End leases that are not over, as if their holders had died, and now and then make a family worthless."""
    from django.db import transaction

    from kck_flow.store import generations
    from kck_flow.store.session import caller

    pick = random.Random(seed)
    counts: Counter[str] = Counter()
    for _ in _while_it_lasts(seconds):
        time.sleep(pick.random() * 0.4)
        _sql(
            "UPDATE kck_refresh SET lease_until = NULL, lease_owner = '', token = token + 1, crashes = 0 "
            "WHERE key LIKE '!count:%%' AND lease_until IS NOT NULL AND random() < 0.5"
        )
        counts["thefts"] += 1
        if pick.random() < 0.3:
            # As a definition is that comes back into force: its deltas are dropped until it is counted again.
            _sql(
                "UPDATE kck_generation SET primed_at = NULL "
                "WHERE token IS NULL AND random() < 0.4 AND definition ->> 'kind' IS DISTINCT FROM 'flow'"
            )
            counts["forgotten"] += 1
        if pick.random() < 0.15:
            with contextlib.suppress(_Undone), transaction.atomic():
                generations.void(caller("default"), pick.choice(STOCKS))
                counts["voided"] += 1
                if pick.random() < 0.3:
                    raise _Undone
    return {"counts": counts}


def tamperer(seconds: float, seed: int, mutant: str = "") -> dict[str, Any]:
    """Do to the table of crates what no trigger sees, and mend it; where a mutant is blind to one thing, that."""
    from django.db import DatabaseError

    from tests.counting import crates

    crates.declare()
    pick = random.Random(seed)
    counts: Counter[str] = Counter()
    only = TAMPERED.get(mutant)
    for _ in _while_it_lasts(seconds):
        time.sleep(pick.random() * (0.1 if only else 0.5))
        try:
            crates.tamper(pick, counts, only)
        except DatabaseError as error:
            counts[f"crates: refused {_sqlstate(error)}"] += 1
    return {"counts": counts}


def checker(seconds: float, seed: int, mutant: str = "") -> dict[str, Any]:
    """Compare what is read with what is counted, in one snapshot, again and again."""
    from tests.counting import crates

    MUTANTS.get(mutant, lambda: None)()
    pick = random.Random(seed)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    checks = 0
    for _ in _while_it_lasts(seconds):
        with _transaction("REPEATABLE READ"):
            if pick.random() < 0.2:
                _sql("SELECT 1")  # an old snapshot: what was folded since is in it as deltas
                time.sleep(pick.random() * 0.3)
            number, told = compare(pick, some=2 if mutant in TAMPERED else 8)
            for _ in range(6 if mutant in TAMPERED else 0):
                more, told_too = crates.compare(pick)
                number, told = number + more, told + told_too
        checks += number
        counts["not primed"] += 8 - number
        wrong += told
        if told:
            points.say("wrong")
        if len(wrong) > 20:
            break
        time.sleep(pick.random() * 0.02)
    return {"checks": checks, "wrong": wrong[:20], "counts": counts}


def compare(pick: random.Random, some: int) -> tuple[int, list[str]]:
    """Compare some keys with their recount; returns how many could be (their family was primed), and what differed."""
    from kck_flow.counting import count
    from kck_flow.registry import registry
    from kck_flow.store import levels
    from kck_flow.store.session import caller
    from tests.counting import crates

    checked, wrong = 0, []
    for _ in range(some):
        base = pick.choice(STOCKS)
        stock, found, alias = _stock(base)
        text = {
            "branch_accounts": f"branch_accounts/{pick.randint(1, 4)}",
            "holding": f"holding/{pick.choice(STATES)}/{pick.randint(0, 4)}",
        }.get(base, base)
        key = registry.key(text)
        held = levels.read(caller(alias), found.generation, key.params)
        if held is None or held.primed_at is None or held.void:
            continue
        checked += 1
        if found.timed:  # two statements would count at two instants
            wrong += map(str, levels.drift(caller(alias), found.generation, found.recount(), 3, timed=True))
            continue
        read, counted = stock.shape.display(held.rows), count(stock, key)
        if read != counted:
            wrong.append(f"{text}: read {read}, counted {counted}")
    number, told = crates.compare(pick)
    checked, wrong = checked + number, wrong + told
    text = pick.choice(FLOWS)
    checked += 1
    read, logged = _flowed(text), _logged(text)
    if read != logged:
        wrong.append(f"{text}: read {read}, logged {logged}")
    return checked, wrong


def _flowed(text: str) -> tuple[int, dict[Any, int]]:
    from kck_flow.cache import flows
    from kck_flow.registry import registry

    key = registry.key(text)
    value = flows.entry(key, registry.primers[key.key_base]).value  # type: ignore[arg-type]
    return value["value"], value["facets"].get("plan", {})


def _logged(text: str) -> tuple[int, dict[Any, int]]:
    from hashlib import md5

    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT plan, count(*) FROM oracle_log WHERE {LOGGED[text]} GROUP BY plan")
        rows = dict(cursor.fetchall())
    total = sum(rows.values())
    if text.startswith("branch"):
        return total, {}
    short = {
        plan: plan if plan is None or len(plan) < 1000 else f"{plan[:100]}#{md5(plan.encode()).hexdigest()}"
        for plan in rows
    }
    return total, {short[plan]: number for plan, number in rows.items()}


def _stock(base: str) -> Any:
    from kck_flow.cache import counted
    from kck_flow.registry import registry
    from tests.counting import crates

    crates.declare()

    primer: Any = registry.primers[base]
    return primer, counted.definition_of(primer, "default"), "default"


# -- mutants: the protocol with one part taken out
# ------------------------------------------------------------------------------


def _rewrite(name: str, before: str, after: str) -> None:
    """Replace a part of a statement in this process."""
    from kck_flow.store import session

    original = session.text_of
    text = original(name)
    assert before in text, (name, before)
    changed = text.replace(before, after)

    def text_of(one: str) -> str:
        return changed if one == name else original(one)

    session.text_of = text_of  # type: ignore[assignment]
    session._on_database_clock.cache_clear()


def _count_in_read_committed() -> None:
    from kck_flow.store import session

    original = session.Session.run

    def run(self: Any, text: str, params: Any = None) -> Any:
        return original(
            self, text.replace("ISOLATION LEVEL REPEATABLE READ", "ISOLATION LEVEL READ COMMITTED"), params
        )

    session.Session.run = run  # type: ignore[method-assign]


def _fold_tests_the_lease_late() -> None:
    # The lease is tested where the level is updated: what was deleted then is lost.
    _rewrite(
        "fold_levels",
        "AND (g.token IS NULL OR c.cut) ORDER BY g.generation FOR UPDATE OF g SKIP LOCKED",
        "",
    )
    _rewrite(
        "fold_levels",
        "WHERE f.primed",
        "WHERE f.primed AND EXISTS "
        "(SELECT 1 FROM kck_generation x WHERE x.generation = t.generation AND x.token IS NULL)",
    )


def _fold_without_lease_test() -> None:
    _rewrite("fold_levels", "AND (g.token IS NULL OR c.cut)", "")


def _publish_without_lease_test() -> None:
    # It neither looks whether the lease is its own, nor touches the fence that a successor holds.
    _rewrite(
        "recounted",
        "AND (token = %(token)s OR %(token)s IS NULL AND token IS NULL)",
        "AND %(token)s IS NOT NULL",
    )
    _no_fence()


def _no_fence() -> None:
    from kck_flow.store import generations

    generations.fence = lambda *_: True  # type: ignore[assignment]


def _read_in_two_statements() -> None:
    from kck_flow.store import levels

    original = levels.read

    def read(session: Any, generation: int, args: Any, **kwargs: Any) -> Any:
        # The deltas in a later snapshot than the levels: as two statements in READ COMMITTED are.
        from kck_flow.store import private

        held = original(session, generation, args, **kwargs)
        time.sleep(0.02)
        with private.session("default") as other:
            later = original(other, generation, args, **kwargs)
        return held if later is None or random.random() < 0.5 else later

    levels.read = read  # type: ignore[assignment]


def _lease_inside_the_snapshot() -> None:
    # The fence is raised in the snapshot's own transaction: what a fold did between the two, the snapshot cannot see.
    from kck_flow.store import generations, levels

    fence, publish = generations.fence, levels.publish
    generations.fence = lambda *_: True  # type: ignore[assignment]

    def late(session: Any, generation: int, token: Any, recount: str, captured: str) -> bool:
        time.sleep(0.05)
        return fence(session, generation, token) and publish(session, generation, token, recount, captured)

    levels.publish = late  # type: ignore[assignment]


def _high_water_mark() -> None:
    # A fold remembers the highest id it has seen and never looks below it: what commits late is never folded; and what
    # is below it is deleted.
    from kck_flow.store import levels

    original = levels.fold

    def fold(session: Any, generations: Any, limit: int) -> int:
        mark = session.run(
            "SELECT coalesce(max(id), 0) FROM kck_delta WHERE generation = ANY(%s)", [list(generations)]
        )[0][0]
        done = original(session, generations, limit=1_000_000)
        session.run(
            "DELETE FROM kck_delta WHERE kind = 'add' AND id <= %s AND generation = ANY(%s)",
            [mark, list(generations)],
        )
        return done

    levels.fold = fold  # type: ignore[assignment]


def _fold_keeps_no_account() -> None:
    # What is folded after the cut is in the level only, and the publish puts another in its place.
    _rewrite("fold_levels", "CASE WHEN f.cut THEN sum(t.n)::bigint END AS since_n", "NULL::bigint AS since_n")


def _account_of_the_dead() -> None:
    # A count that was stolen from after its cut leaves its account behind, and the next adds it to its own.
    _rewrite("cut_accounts", "since_n IS NOT NULL", "false")


def _earlier_try() -> None:
    # A publish that failed is tried again with a new count, and the old one is added to it.
    _rewrite("drop_staged", "token = %(token)s", "false")


def _blind_to_switching() -> None:
    # Triggers that were switched off and on again look as they were: what was written between is never missed.
    _rewrite("capture_print", "relid, tgname, xmin, proname", "relid, tgname, proname")


def _blind_to_what_was_detached() -> None:
    # A partition that was detached tells of its rows still, which are none of the table's.
    _rewrite("capture_print", "AND d.classid = 'pg_trigger'::regclass", "AND false")


def _cut_in_another_snapshot() -> None:
    # The deltas are taken in a snapshot later than the count's: those between the two are in neither.
    from kck_flow.store import session

    original = session.Session.run

    def run(self: Any, text: str, params: Any = None) -> Any:
        if text.startswith("SET TRANSACTION SNAPSHOT"):
            time.sleep(0.01)
            return []
        return original(self, text, params)

    session.Session.run = run  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "count in READ COMMITTED": _count_in_read_committed,
    "fold tests the lease in its update": _fold_tests_the_lease_late,
    "fold without the lease test": _fold_without_lease_test,
    "publish without the lease test": _publish_without_lease_test,
    "read in two statements": _read_in_two_statements,
    "lease inside the snapshot": _lease_inside_the_snapshot,
    "high-water mark over the deltas": _high_water_mark,
    "blind to triggers that were off": _blind_to_switching,
    "blind to what was detached": _blind_to_what_was_detached,
    "fold keeps no account since the cut": _fold_keeps_no_account,
    "account of a count that died": _account_of_the_dead,
    "cut in a snapshot of its own": _cut_in_another_snapshot,
    "what an earlier try found": _earlier_try,
}
CUT_MUTANTS = list(MUTANTS)[-4:]
# Those that are blind to something done to the table of crates, and to what: it is done and looked for more often.
TAMPERED = {"blind to triggers that were off": "disable", "blind to what was detached": "detach"}


# -- the run
# ----------------------------------------------------------------------------------------------------------


def run(
    crew: Any, seconds: float, *, writers: int = 4, mutant: str = "", seed: int = 0, kills: bool = True
) -> Report:
    """Let everything happen at once for so long; returns what the checkers found.

    A mutant's run is over once it has been found wrong.
    """
    pick = random.Random(seed)
    report = Report()
    crew.spawn(prepare).result()
    roles = [crew.spawn(writer, seconds, seed * 100 + number) for number in range(writers)]
    steady = [crew.spawn(checker, seconds, seed * 100 + 50 + number, mutant) for number in range(2)]
    steady.append(crew.spawn(thief, seconds, seed * 100 + 60))
    steady.append(crew.spawn(tamperer, seconds, seed * 100 + 70, mutant))
    living = [crew.spawn(role, seconds, pick.randint(0, 10**6), mutant) for role in (computer, folder) * 2]
    for child in (together := [*roles, *steady, *living]):
        child.wait_for("ready", limit=120)
    for child in together:
        child.go("ready")
    until = time.monotonic() + seconds

    def found() -> bool:
        return bool(mutant) and any(child.is_at("wrong") for child in [*roles, *steady])

    while time.monotonic() < until - 2:
        if found():
            break
        if not kills:
            time.sleep(0.05)
            continue
        time.sleep(min(2.0 + pick.random(), max(until - time.monotonic() - 1, 0.1)))
        if time.monotonic() < until - 3:
            victim = living.pop(pick.randrange(len(living)))
            os.kill(victim.pid, signal.SIGKILL)
            report.counts["killed"] += 1
            left = until - time.monotonic()
            role = computer if victim.target.endswith("computer") else folder
            living.append(crew.spawn(role, left, pick.randint(0, 10**6), mutant))
            living[-1].go("ready")
    if found():
        for child in [*roles, *steady, *living]:
            with contextlib.suppress(BrokenPipeError):  # it has ended by itself
                child.go("enough")
    for child in [*roles, *steady, *living]:
        report.add(child.result(limit=seconds + 120))
    return report


def main(seconds: float, mutant: str = "") -> int:
    """Run on a server of its own, and print what came of it."""
    import postgres
    from tests.harness.processes import Crew

    if mutant and mutant not in MUTANTS:
        sys.exit(f"There is no mutant {mutant!r}; there are: {', '.join(MUTANTS)}")
    with postgres.server(options={"max_prepared_transactions": 50}) as server, Crew(server.url) as crew:
        migrated = crew.manage("migrate", "--run-syncdb", "-v0")
        assert migrated.wait() == 0, migrated.output
        report = run(crew, seconds, seed=int(time.time()) % 10_000, mutant=mutant)
    print(report)
    for one in report.wrong[:10]:
        print(one)
    return 1 if report.wrong or not report.checks else 0


if __name__ == "__main__":
    sys.path.insert(0, "tools")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    from tests.counting import oracle  # under its name: children import it

    sys.exit(oracle.main(float(sys.argv[1]) if len(sys.argv) > 1 else 60, " ".join(sys.argv[2:])))
