"""Flows fed by a ModelTracker, while several sessions save and delete stale objects at random; compared with a trigger
that tells each row's change, in one snapshot. And the same with the lock, or the look, taken out.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F

from kck_flow import Cache, Facet, Flow, ModelTracker, Stock
from kck_flow.cache import recount
from kck_flow.changes import tracking, triggers
from kck_flow.testing import registered
from tests.accounts.models import Kettle, SmartKettle
from tests.counting.conftest import Session, fold, sql

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = range(1, 7)
LOG = """
CREATE TABLE kettle_log (was integer, now integer);
CREATE FUNCTION kettle_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO kettle_log VALUES (
        CASE WHEN TG_OP <> 'INSERT' THEN least(OLD.degrees / 50, 2) END,
        CASE WHEN TG_OP <> 'DELETE' THEN least(NEW.degrees / 50, 2) END);
    RETURN NULL;
END $$;
CREATE TRIGGER kettle_log AFTER INSERT OR UPDATE OR DELETE ON accounts_kettle
FOR EACH ROW EXECUTE FUNCTION kettle_tell();
"""


def _states(previous: Any, current: Any) -> tuple[tuple[int | None], tuple[int | None]]:
    was, now = (None if row is None else min(row.degrees // 50, 2) for row in (previous, current))
    return (was,), (now,)


def _flow(source: int | None, sink: int | None) -> type[Flow]:
    name = f"kettle_{source}_{sink}".lower()
    return type(
        name.title(),
        (Flow,),
        {"key_base": name, "capture": "signals", "sources": [source], "sinks": [sink], "window": "day"},
    )


PAIRS = {pair: _flow(*pair) for pair in itertools.permutations((None, 0, 1, 2), 2)}


class KettlesAtHand(Stock):
    """Kettles, whatever they are; counted by their states below."""

    capture, model = "signals", Kettle
    facets = [Facet("colour"), Facet("degrees")]


STOCKS = {
    state: type(f"Kettles{state}", (KettlesAtHand,), {"key_base": f"kettle_stock_{state}"})
    for state in range(3)
}


def _in_stocks(previous: Any, current: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    (was,), (now,) = _states(previous, current)
    return (was, STOCKS.get(was)), (now, STOCKS.get(now))


ModelTracker(Kettle, ["degrees"], _in_stocks, list(PAIRS.values()), stocks=list(STOCKS.values()))


@pytest.fixture(autouse=True)
def _declared(db: None) -> Iterator[None]:
    with registered(*PAIRS.values(), *STOCKS.values()):
        triggers.install("default")
        sql(LOG)
        yield
        sql("DROP TRIGGER kettle_log ON accounts_kettle; DROP FUNCTION kettle_tell; DROP TABLE kettle_log")
    triggers.install("default")


def differences() -> list[str]:
    """Return where what is read differs from what the rows did, in one snapshot."""
    cache = Cache.get_instance()
    with transaction.atomic():
        sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = sql("SELECT was, now, count(*) FROM kettle_log WHERE was IS DISTINCT FROM now GROUP BY 1, 2")
        logged = {(was, now): n for was, now, n in rows}
        read = {pair: cache.get(flow.key_base)["value"] for pair, flow in PAIRS.items()}
        held = {state: cache.get(stock.key_base) for state, stock in STOCKS.items()}
        by_degrees = dict(sql("SELECT degrees, count(*) FROM accounts_kettle GROUP BY 1"))
        by_colour = sql("SELECT least(degrees / 50, 2), colour, count(*) FROM accounts_kettle GROUP BY 1, 2")
    counted = {
        state: {
            "value": sum(n for degrees, n in by_degrees.items() if min(degrees // 50, 2) == state),
            "facets": {
                "colour": {colour: n for of, colour, n in by_colour if of == state},
                "degrees": {
                    degrees: n for degrees, n in by_degrees.items() if min(degrees // 50, 2) == state
                },
            },
        }
        for state in STOCKS
    }
    return [
        f"{state}: held {found}, counted {counted[state]}"
        for state, found in held.items()
        if found != counted[state]
    ] + [
        f"{pair}: read {n}, logged {logged.get(pair, 0)}"
        for pair, n in read.items()
        if n != logged.get(pair, 0)
    ]


def write(seed: int, over: threading.Event, done: Counter[str]) -> None:
    """Save and delete at random until it is over, objects loaded long ago among them."""
    chance, known = random.Random(seed), {}

    def one() -> None:
        key = chance.choice(KEYS)
        found = known.get(key) if chance.random() < 0.7 else None
        if found is None:
            model = SmartKettle if chance.random() < 0.3 else Kettle
            found = known[key] = model.objects.filter(pk=key).first() or model(pk=key)
        found.degrees, found.colour = chance.choice((0, 20, 60, 120)), chance.choice(("red", "", None))
        match chance.randrange(10):
            case 0:
                Kettle.objects.filter(pk=key).delete()
            case 1 if not found._state.adding:
                found.delete()
                known.pop(key)
            case 2:
                found.save(update_fields=["degrees"])
            case 3:
                found.degrees = F("degrees") + 50
                found.save()
                known.pop(key)
            case 4:
                found.save(update_fields=["colour", "note"])
            case _:
                found.save()

    def several() -> None:
        with transaction.atomic():
            if chance.random() < 0.2:
                sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for _ in range(chance.randrange(1, 4)):
                if chance.random() < 0.3:
                    with transaction.atomic():
                        one()
                        if chance.random() < 0.5:
                            transaction.set_rollback(True)
                else:
                    one()
            if chance.random() < 0.3:
                transaction.set_rollback(True)

    while not over.is_set():
        try:
            (one if chance.random() < 0.5 else several)()
            done[f"writer {seed}"] += 1
        except (DatabaseError, ValueError):  # a deadlock, a serialization failure, a row that is gone
            known.clear()


def count(over: threading.Event, done: Counter[str]) -> None:
    """Have the stocks counted anew until it is over."""
    while not over.is_set():
        for stock in STOCKS.values():
            Cache.get_instance().refresh(stock.key_base)
            done["counts"] += 1


def history(sessions: Callable[[], Session], writes: int, limit: float = 120.0) -> list[str]:
    """Have four sessions write while others fold and count; returns what is found wrong, as soon as something is."""
    over, done, wrong = threading.Event(), Counter[str](), list[str]()
    roles = [sessions() for _ in range(5)]
    for seed, writer in enumerate(roles[:4]):
        writer.tell(lambda seed=seed: write(seed, over, done))
    roles[4].tell(lambda: count(over, done))
    wanted = {**{f"writer {seed}": writes for seed in range(4)}, "counts": 6, "checks": 6}
    ends = time.monotonic() + limit
    try:
        while not wrong and any(done[role] < n for role, n in wanted.items()):
            assert time.monotonic() < ends, f"only so much was done: {done}"
            fold()
            wrong += differences()
            done["checks"] += 1
    finally:
        over.set()
    for role in roles:
        role.answer(60.0)
    return wrong or differences()


@pytest.mark.once("newest")
def test_stale_objects_saved_at_random_are_told_as_the_rows_changed(
    sessions: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every other count is taken for one that takes long: folds go on while it walks.
    turns = itertools.cycle((True, False))
    monkeypatch.setattr(recount, "_takes_long", lambda *_: next(turns))
    wrong = history(sessions, 60)
    assert not wrong, wrong[:5]
    connection.close()


@pytest.mark.parametrize("mutant", ["without the lock", "without the look"])
def test_it_is_found_wrong_without(
    mutant: str, sessions: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at = tracking._Plan.look_at
    remembered: dict[Any, Any] = {}

    def no_lock(self: Any, pks: Any, lock: str = "") -> Any:
        return look_at(self, pks)

    def what_was_seen_last(self: Any, pks: Any, lock: str = "") -> Any:
        place = threading.get_ident(), *pks
        if not lock or place not in remembered:
            remembered[place] = look_at(self, pks)
        return remembered[place]

    monkeypatch.setattr(
        tracking._Plan, "look_at", no_lock if mutant == "without the lock" else what_was_seen_last
    )
    assert history(sessions, 5_000)
