"""What a consumer does whose handlers are slow, and whose sources feed several databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import Error, connection, connections

from kck_flow import Cache, Message, Topic, send_many
from kck_flow.models import Cursor, Outbox
from kck_flow.store.session import Session, caller
from kck_flow.streams import consuming, intake, topics
from kck_flow.testing import registered
from tests.harness.processes import database_url_of
from tests.harness.wait import until
from tests.streams.test_ready_servers import session
from tests.topics.lines import Lines

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


class Slow(Topic):
    """A handler that is too long without a word to its database, where it has too much to do at once."""

    key_base = "consumers_slow"
    topics = ["n"]
    batch = 40
    handled = 0
    too_many: int | None = None
    other: Session

    def process(self, state: Any, message: Message) -> Any:
        Slow.handled += 1
        if Slow.handled == self.too_many:
            [(pid,)] = caller("default").run("SELECT pg_backend_pid()")
            self.other.run("SELECT pg_terminate_backend(%s, 20000)", [pid])
        return state + 1


def test_a_batch_that_takes_too_long_is_followed_by_smaller_ones_and_they_grow_again(
    monkeypatch: Any,
) -> None:
    with registered(Slow) as (topic,), session(database_url_of("default")) as Slow.other:
        assert isinstance(topic, Topic)
        send_many([Message("n", 1, f"m{n}", T0) for n in range(100)])
        consumer = consuming.Consumer(consuming.Options())
        topics.begin(topic)

        def turn() -> int:
            Slow.handled = 0
            done = consumer._turn(topic, 0)
            assert done is not None
            return done.messages

        # Each is too long: a second one of as many would be, too.
        monkeypatch.setattr(consuming, "BATCH_SECONDS", 0.0)
        Slow.too_many = 11
        with pytest.raises(Error):
            turn()
        connection.close()
        assert turn() == 10
        assert turn() == 1
        # From here on none is: twice as many each time, and no more than are asked for.
        monkeypatch.setattr(consuming, "BATCH_SECONDS", 1000.0)
        Slow.too_many = None
        assert [turn() for _ in range(7)] == [1, 2, 4, 8, 16, 32, 26]
        assert Cache.get_instance().get("consumers_slow") == 100


@pytest.fixture
def second() -> Iterator[Session]:
    """Another database, as far as its connections can tell: a schema with a log of its own, that is not there yet."""
    caller("default").run("CREATE SCHEMA kck_second")
    caller("default").run("CREATE TABLE kck_second.kck_cursor (LIKE public.kck_cursor INCLUDING ALL)")
    there, given = connections["elsewhere"], connections["elsewhere"].settings_dict
    before = given["OPTIONS"]
    given["OPTIONS"] = {**before, "options": "-c search_path=kck_second"}
    there.close()
    try:
        yield Session(there)
    finally:
        there.close()
        given["OPTIONS"] = before
        caller("default").run("DROP SCHEMA kck_second CASCADE")


@pytest.mark.django_db(transaction=True, databases=["default", "elsewhere"])
def test_a_source_that_goes_on_from_a_place_feeds_each_database_all_that_it_has(
    second: Session, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(intake, "PAUSE", 0.01)
    path, stopping = tmp_path / "lines", threading.Event()
    told = [json.dumps({"id": f"l{n}", "at": (T0 + timedelta(n)).isoformat(), "body": n}) for n in range(20)]
    path.write_text("\n".join(told))
    bridge = intake.Bridge("lines", lambda: Lines(str(path)), ["default", "elsewhere"], stopping)
    bridge.start()
    try:
        # One has them, and its place is behind them; the other has nothing.
        until(lambda: "kck_outbox" in bridge.error, "the second log to be missed")
        assert Cursor.objects.get(reader="source:lines").position == 20
        second.run("CREATE TABLE kck_outbox (LIKE public.kck_outbox INCLUDING ALL)")
        until(
            lambda: second.run("SELECT count(*) FROM kck_outbox") == [(20,)], "the second to have them, too"
        )
        until(bridge.idle.is_set, "the source to be read")
    finally:
        stopping.set()
        bridge.join(20)
    assert Outbox.objects.count() == 20
    assert second.run("SELECT position::text, messages FROM kck_cursor") == [("20", 20)]
