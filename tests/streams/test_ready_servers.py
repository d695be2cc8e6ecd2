"""Up to when a table is complete, as servers tell it that are not the usual one. Row 138."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.utils import ConnectionHandler

import postgres
from kck_flow import ModelStream, Primer
from kck_flow.store import server as servers
from kck_flow.store.session import Session
from kck_flow.testing import registered
from tests.harness.processes import database_url_of
from tests.harness.standby import standby
from tests.settings import database

pytestmark = [pytest.mark.slow, pytest.mark.django_db]  # the latter allows connections, and uses none


@contextmanager
def session(url: str) -> Iterator[Session]:
    handler = ConnectionHandler({"default": database(url)})
    try:
        yield Session(handler["default"])
    finally:
        handler["default"].close()


def test_what_a_prepared_transaction_may_still_commit_is_not_complete() -> None:
    with postgres.server(options={"max_prepared_transactions": 2}) as server, session(server.url) as ours:
        before = servers.settled_at(ours)
        ours.run("BEGIN")
        ours.run("CREATE TABLE there ()")
        ours.run("PREPARE TRANSACTION 'kck_ready'")
        [(prepared,)] = ours.run("SELECT prepared FROM pg_prepared_xacts")
        assert before < prepared
        assert servers.settled_at(ours) == servers.settled_at(ours) == prepared
        ours.run("COMMIT PREPARED 'kck_ready'")
        assert servers.settled_at(ours) > prepared


def test_on_a_standby_nobody_can_tell() -> None:
    with postgres.server() as primary, standby(primary) as following, session(following.url) as ours:
        assert servers.settled_at(ours) is None


class RsSeen(Primer):
    """Reads a stream."""

    key_base = "rs_seen"
    stream = ModelStream("meters.Reading", "taken_at")

    def needs_from(self, now: datetime) -> datetime:
        return now

    def compute(self, key: object) -> int:
        return 0


@pytest.mark.django_db(transaction=True)
def test_a_role_that_may_not_see_running_transactions_is_told() -> None:
    ours = Session(connections["default"])
    with registered(RsSeen), session(database_url_of("default")) as other:
        other.run("BEGIN")
        other.run("SELECT 1")
        assert servers.hidden_sessions(ours)[0] == 0
        assert "Transactions that are running can be seen" in said()
        ours.run("CREATE ROLE kck_rs_limited")
        try:
            ours.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO kck_rs_limited")
            ours.run("SET ROLE kck_rs_limited")
            hidden, role = servers.hidden_sessions(ours)
            assert hidden >= 1
            assert role == "kck_rs_limited"
            told = said()
            assert (
                "cannot be seen into: what they write may come behind the watermark of meters.reading" in told
            )
            assert 'GRANT pg_read_all_stats TO "kck_rs_limited"' in told
        finally:
            ours.run("RESET ROLE")
            ours.run("DROP OWNED BY kck_rs_limited")
            ours.run("DROP ROLE kck_rs_limited")
        other.run("ROLLBACK")


def said() -> str:
    out = StringIO()
    with suppress(SystemExit):
        call_command("kck", "check", "--setup", "--format", "json", stdout=out, stderr=out)
    return out.getvalue().replace('\\"', '"')
