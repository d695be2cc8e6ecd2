"""Up to when a table is complete, as servers tell it that are not the usual one. Row 138."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db.utils import ConnectionHandler

import postgres
from kck_flow.store import server as servers
from kck_flow.store.session import Session
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
