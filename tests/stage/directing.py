"""The test's side of the stage: scripts written, gates opened, the ledger read, readers given their orders."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db import connection

from tests.harness.daemons import Daemon
from tests.harness.processes import Child, Crew
from tests.harness.wait import until
from tests.stage import reader

FULL = os.environ.get("KCK_TEST_FULL") == "1"
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.stage.settings"}


@dataclass(frozen=True)
class Line:
    """A line of the ledger: what happened (`begin`, `at`, `end`), to which compute, in which process, when."""

    kind: str
    key: str
    number: int
    pid: int
    at: float
    more: str


class Stage:
    """The folder in which the products of a test find their scripts.

    Attributes:
        path: The folder.
        env: What a process needs in its environment to play here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {**SETTINGS, "KCK_TEST_STAGE": str(path)}

    def script(self, key: str, *steps: list[Any], run: int | None = None) -> None:
        """Write down what computes of a key (or of a whole family) do; with `run` only that compute of the
        key.
        """
        name = quote(key, safe="") + (f".{run}" if run is not None else "")
        fresh = self.path / f"{name}.new"
        fresh.write_text(json.dumps(steps))
        fresh.replace(self.path / f"{name}.json")

    def write(self, name: str, value: Any) -> None:
        """Write a file of the stage, whole or not at all."""
        fresh = self.path / f"{name}.new"
        fresh.write_text(json.dumps(value))
        fresh.replace(self.path / name)

    def open(self, gate: str) -> None:
        """Let go whoever is held at a gate, and whoever comes there."""
        (self.path / gate).touch()

    def ledger(self, kind: str | None = None, key: str | None = None) -> list[Line]:
        """Return the lines so far, oldest first. A `begin` carries no number: it is the place among its kind."""
        try:
            text = (self.path / "ledger").read_text()
        except FileNotFoundError:
            return []
        lines = [Line(*json.loads(line)) for line in text.splitlines()]
        return [line for line in lines if kind in (None, line.kind) and key in (None, line.key)]

    def begun(self, key: str | None = None) -> int:
        """Return how often a product (or any) was begun to be computed."""
        return len(self.ledger("begin", key))

    def keys(self, kind: str = "begin") -> list[str]:
        """Return the keys computed, in the order in which they were begun (or ended)."""
        return [line.key for line in self.ledger(kind)]

    def wait_begun(self, key: str, number: int = 1, *, limit: float = 30.0) -> Line:
        """Wait until a product has been begun so often; return that line."""
        return until(
            lambda: self.ledger("begin", key)[number - 1 :][:1],
            f"compute {number} of {key} to begin",
            limit=limit,
        )[0]

    def wait_ended(self, key: str, number: int = 1, *, limit: float = 30.0) -> Line:
        """Wait until so many computes of a product have ended; return that line."""
        return until(
            lambda: self.ledger("end", key)[number - 1 :][:1],
            f"compute {number} of {key} to end",
            limit=limit,
        )[0]

    def wait_at(self, key: str, gate: str, number: int = 1, *, limit: float = 30.0) -> Line:
        """Wait until so many computes of a product stand, or stood, at a gate."""
        return until(
            lambda: [line for line in self.ledger("at", key) if line.more == gate][number - 1 :][:1],
            f"{key} to come to {gate!r}",
            limit=limit,
        )[0]

    def most_together(self, *keys: str) -> int:
        """Return how many computes (of these keys, or all) were ever under way at once."""
        now = most = 0
        for line in self.ledger():
            if keys and line.key not in keys:
                continue
            now += (line.kind == "begin") - (line.kind == "end")
            most = max(most, now)
        return most


class Refused(AssertionError):
    """A reader's order raised; `.type` and `.text` say what."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.type, self.text, self.told = told["type"], told["text"], told
        super().__init__(f"{self.type}: {self.text}")


class Reader:
    """A process that asks the cache what it is told to ask."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._orders = self._answers = 0
        child.wait_for("ready")

    @property
    def pid(self) -> int:
        return self.child.pid

    def tell(self, order: str, *arguments: Any, **options: Any) -> None:
        """Give an order and do not wait for it."""
        self._orders += 1
        self.child.go(f"order {self._orders}", [order, arguments, options])

    def answer(self, *, limit: float = 60.0) -> Any:
        """Wait for the answer to the oldest order not answered yet. Raises Refused where it raised."""
        self._answers += 1
        kind, found = self.child.wait_for(f"answer {self._answers}", limit=limit)
        if kind == "error":
            raise Refused(found)
        return found

    def ask(self, order: str, *arguments: Any, **options: Any) -> Any:
        """Give an order and wait for its answer."""
        assert self._orders == self._answers, "an order was not answered yet"
        self.tell(order, *arguments, **options)
        return self.answer()

    def answered(self) -> bool:
        """Whether the oldest order given is answered, without waiting."""
        return self.child.is_at(f"answer {self._answers + 1}")

    def get(self, key: str, **options: Any) -> Any:
        """Ask for a product; return its value. Raises Refused."""
        found = self.ask("get", key, **options)
        if "type" in found:
            raise Refused(found)
        return found["value"]

    def entry(self, key: str, **options: Any) -> dict[str, Any]:
        """Ask for a product's entry; return its value, state and version. Raises Refused."""
        found = self.ask("get_entry", key, **options)
        if "type" in found:
            raise Refused(found)
        return dict(found["value"])

    @property
    def idle(self) -> bool:
        return self.child.alive and self._orders == self._answers


class House:
    """Readers that stay from test to test: starting Django takes longer than most tests."""

    def __init__(self, url: str | None = None) -> None:
        self._crew = Crew(url, env={"PYTHONFAULTHANDLER": "1"})
        self._readers: list[Reader] = []
        self.url = url

    def readers(self, count: int, stage: Stage, flow: dict[str, Any]) -> list[Reader]:
        """Return so many readers that remember nothing of the test before."""
        self._readers = [one for one in self._readers if one.idle]
        missing = count - len(self._readers)
        started = [self._crew.spawn(reader.serve, env=stage.env) for _ in range(max(missing, 0))]
        self._readers += [Reader(child) for child in started]
        chosen = self._readers[:count]
        for one in chosen:
            one.tell("clear", str(stage.path), flow)
        for one in chosen:
            one.answer()
        return chosen

    def rest(self) -> None:
        """After a test: close what they hold open."""
        for one in self._readers:
            if one.idle:
                one.tell("clear", "/nonexistent", {})
        for one in self._readers:
            if one.child.alive and one._orders != one._answers:
                try:
                    while one._orders != one._answers:
                        one.answer(limit=5.0)
                except AssertionError:
                    one.child.close()

    def close(self) -> None:
        self._crew.close()


class Theatre:
    """What a test of the stage works with.

    Attributes:
        stage: Scripts, gates, ledger.
        crew: Processes of this test alone.
    """

    def __init__(self, stage: Stage, crew: Crew, house: House) -> None:
        self.stage, self.crew, self._house = stage, crew, house

    def readers(self, count: int, **flow: Any) -> list[Reader]:
        """Return so many reading processes, with these settings of KCK_FLOW."""
        return self._house.readers(count, self.stage, {"REFRESH_IN_PROCESS": "auto", **flow})

    def reader(self, **flow: Any) -> Reader:
        """Return a reading process."""
        return self.readers(1, **flow)[0]

    def mortal(self, *, url: str | None = None, env: dict[str, str] | None = None, **flow: Any) -> Reader:
        """Return a reading process of this test alone, that may be stopped, killed or reach its database
        elsewhere.
        """
        return self.mortals(1, url=url, env=env, **flow)[0]

    def mortals(
        self, count: int, *, url: str | None = None, env: dict[str, str] | None = None, **flow: Any
    ) -> list[Reader]:
        """Return so many of them, started side by side."""
        given = {
            **self.stage.env,
            "KCK_TEST_FLOW": json.dumps(flow),
            **(env or {}),
            **({"DATABASE_URL": url} if url else {}),
        }
        return [Reader(child) for child in [self.crew.spawn(reader.serve, env=given) for _ in range(count)]]

    def worker(
        self,
        *options: str,
        url: str | None = None,
        env: dict[str, str] | None = None,
        wait: bool = True,
        **flow: Any,
    ) -> Daemon:
        """Start `kck worker` with these options; returns once its banner stands."""
        given = {
            **self.stage.env,
            "KCK_TEST_FLOW": json.dumps(flow),
            **(env or {}),
            **({"DATABASE_URL": url} if url else {}),
        }
        daemon = self.crew.manage("kck", "worker", *options, env=given)
        if wait:
            daemon.wait_for(r"worker w\d+ pid \d+")
        return daemon


def sql(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement on the test's own connection."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def one(statement: str, *parameters: Any) -> Any:
    """Return the only value of a statement's only row, or None without a row."""
    rows = sql(statement, *parameters)
    return rows[0][0] if rows else None


def value_of(key: str) -> Any:
    """Return what is stored under a key, as any SQL client sees it."""
    text = one("SELECT value::text FROM kck_product WHERE key = %s", key)
    return json.loads(text) if text is not None else None


def slot(key: str) -> dict[str, Any]:
    """Return a product's slot, by column; empty where there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT *, coalesce(lease_until > clock_timestamp(), false) AS leased FROM kck_refresh WHERE key = %s",
            [key],
        )
        names = [column[0] for column in cursor.description]
        row = cursor.fetchone()
    return dict(zip(names, row, strict=True)) if row else {}


def outcomes(key: str) -> list[str]:
    """Return what came of the runs of a product, oldest first."""
    return [row[0] for row in sql("SELECT outcome FROM kck_run WHERE key = %s ORDER BY id", key)]


@contextmanager
def sized(statement: str) -> Iterator[None]:
    """Fail where a table grows inside the block."""
    before = one(statement)
    yield
    assert one(statement) == before


__all__ = [
    "FULL",
    "House",
    "Line",
    "Reader",
    "Refused",
    "Stage",
    "Theatre",
    "one",
    "outcomes",
    "slot",
    "sql",
    "until",
    "value_of",
]
