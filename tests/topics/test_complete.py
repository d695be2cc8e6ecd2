"""What is called complete is: whatever is still open, hidden, prepared or deleted. Rows 142 and 150."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import F

import postgres
from kck_flow import Cache, Message, Topic, send, send_many
from kck_flow.models import Cursor, Outbox
from kck_flow.store.session import caller
from kck_flow.streams import topics
from kck_flow.testing import registered
from tests.streams.test_ready_servers import session

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)
ROLE = "kck_tc_limited"
cache = Cache.get_instance()


class Hours(Topic):
    """How many, by the hour."""

    key_base = "complete_hours"
    topics = ["c"]
    window = "1h"


class Later(Hours):
    """The same, begun when some of the log had been deleted."""

    key_base = "complete_later"


class LaterSince(Later):
    """The same, from an instant on."""

    key_base = "complete_since"
    epoch = T0 + timedelta(hours=1)


@pytest.fixture
def limited() -> Iterator[None]:
    """This thread's role may read and write all tables, and see of nobody what he does."""
    ours = caller("default")
    ours.run(f"CREATE ROLE {ROLE}")
    try:
        ours.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}")
        ours.run(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE}")
        ours.run(f"SET ROLE {ROLE}")
        yield
    finally:
        ours.run("RESET ROLE")
        ours.run(f"DROP OWNED BY {ROLE}")
        ours.run(f"DROP ROLE {ROLE}")


class Sender:
    """Somebody who has sent a message, and whose transaction is open until it is told to end."""

    def __init__(self, threads: Any, id: str) -> None:
        self._sent, self._end = threading.Event(), threading.Event()

        def send_late() -> None:
            with transaction.atomic():
                send("c", 1, id=id)
                self._sent.set()
                assert self._end.wait(20)

        self._thread = threads(send_late)
        assert self._sent.wait(20)
        self.sent_at = datetime.now(UTC)

    def end(self) -> None:
        self._end.set()
        self._thread.result()


def up_to() -> datetime:
    found = Cursor.objects.get(reader="complete_hours").moved_at
    assert found is not None
    return found


def test_what_a_transaction_may_have_sent_that_cannot_be_seen_is_waited_for(
    limited: None, threads: Any
) -> None:
    with registered(Hours):
        topics.drain()
        before = up_to()
        first = Sender(threads, "m1")
        for _ in range(2):
            send("c", 1)
            topics.drain()
            assert up_to() == before
        # There is always another one open; what the first has sent is there all the same once that is over.
        second = Sender(threads, "m2")
        first.end()
        topics.drain()
        assert before < up_to() <= second.sent_at
        second.end()
        topics.drain()
        assert up_to() > second.sent_at
        assert sum(point.value for point in cache.series("complete_hours", before, up_to())) == 4


def test_what_was_prepared_is_open_and_what_is_of_another_database_is_not() -> None:
    with (
        postgres.server(options={"max_prepared_transactions": 2}) as server,
        session(server.url) as ours,
        session(server.url.rpartition("/")[0] + "/template1") as another,
    ):

        def unseen() -> bool:
            return bool(ours.rows("unseen_writers", {})[0][0])

        for one, counts in ((ours, True), (another, False)):
            assert not unseen()
            one.run("BEGIN")
            one.run("CREATE TABLE there ()")
            one.run("PREPARE TRANSACTION 'kck_complete'")
            assert unseen() is counts
            one.run("ROLLBACK PREPARED 'kck_complete'")
        another.run("BEGIN")
        another.run("CREATE TABLE there ()")
        ours.run("CREATE ROLE kck_tc_other")
        ours.run("SET ROLE kck_tc_other")
        assert not unseen()
        another.run("ROLLBACK")


def test_a_topic_that_begins_with_a_log_that_was_deleted_from_knows_what_it_lacks() -> None:
    with registered(Hours):
        send_many([Message("c", 1, f"m{n}", T0 + timedelta(minutes=40 * n)) for n in range(6)])
        topics.drain()
        Outbox.objects.filter(at__lt=T0 + timedelta(hours=2)).update(
            received_at=F("received_at") - timedelta(days=9)
        )
        call_command("kck", "prune", verbosity=0)
        with registered(Later, LaterSince):
            topics.drain()
            whole = {
                name: [
                    point.complete
                    for point in cache.series(name, T0 - timedelta(hours=1), T0 + timedelta(hours=4))
                ]
                for name in ("complete_hours", "complete_later", "complete_since")
            }
            assert whole == {
                "complete_hours": [True] * 5,
                "complete_later": [False, False, False, True, True],
                "complete_since": [False, False, False, True, True],
            }
