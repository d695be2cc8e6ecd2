"""Cases 26 and holes 16 and 17: what is read on a standby that follows under load, and on a subscriber, is exact; what
has to be computed is asked of the primary.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

import postgres
from tests.counting import oracle
from tests.counting.elsewhere import read, write_and_read
from tests.counting.following import ask, compute_by_router, fill, follow, position, refresh_and_write, totals
from tests.harness.processes import Child, Crew
from tests.harness.standby import standby
from tests.harness.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.once("newest")]
SECONDS = 12.0
# As the standby must allow for what its primary does.
PREPARED = {"max_prepared_transactions": 50}


def psql(url: str, *statements: str) -> str:
    commands = [part for one in statements for part in ("-c", one)]
    done = subprocess.run(
        [postgres.binaries() / "psql", "-AtX", "-v", "ON_ERROR_STOP=1", *commands, url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def primary() -> Iterator[postgres.Server]:
    with postgres.server(options=PREPARED) as server, Crew(server.url) as crew:
        migrated = crew.manage("migrate", "--run-syncdb", "-v0")
        assert migrated.wait() == 0, migrated.output
        crew.spawn(fill).result()
        yield server


def caught_up(here: postgres.Server, there: postgres.Server) -> None:
    at = psql(here.url, "SELECT pg_current_wal_flush_lsn()")
    until(
        lambda: psql(there.url, f"SELECT pg_last_wal_replay_lsn() >= '{at}'::pg_lsn") == "t",
        "the standby to have all that was written",
        limit=60.0,
    )


# -- a standby


def test_26_reads_on_a_hot_standby_are_exact_while_the_primary_is_under_load(
    primary: postgres.Server,
) -> None:
    with (
        standby(primary, **PREPARED) as follower,
        Crew(primary.url) as writing,
        Crew(follower.url) as reading,
    ):
        assert psql(follower.url, "SELECT pg_is_in_recovery()") == "t"
        roles: list[Child] = [writing.spawn(oracle.writer, SECONDS, 100 + number) for number in range(3)]
        roles += [writing.spawn(role, SECONDS, 7) for role in (oracle.computer, oracle.folder, oracle.thief)]
        for child in roles:
            child.go("ready")
        readers = [reading.spawn(follow, SECONDS, number) for number in range(2)]
        report = oracle.Report()
        for child in (*roles, *readers):
            told = child.result(limit=SECONDS + 120)
            report.add(told)
            assert child not in readers or told["seen"] > 20, told  # the readers saw it move
        assert report.wrong == []
        assert report.checks > 200
        assert report.counts["deltas folded"] > 100
        assert report.counts["count done"] > 3
        caught_up(primary, follower)
        here, there = writing.spawn(totals).result(), reading.spawn(totals).result()
        assert here == there
        assert all(read == counted for read, counted in there.values()), there


def test_what_a_standby_cannot_compute_is_clearly_refused_and_promoted_it_can(
    primary: postgres.Server,
) -> None:
    with standby(primary, **PREPARED) as follower, Crew(follower.url) as crew:
        told = crew.spawn(ask).result()
        reads = {name: value for name, value in told.items() if name.startswith("reads ")}
        assert reads == {
            "reads stale": "{'value': 50, 'facets': {'country': {'DE': 50}}}",
            "reads state": "stale",
            "reads never counted": "0",
            "reads many": "[0, 50, 50]",
            "reads series": "50",
        }
        for name, value in told.items():
            if name not in reads:
                assert "can only be read: it is a standby" in value, (name, value)
                assert "has to be asked of the primary" in value, (name, value)
        for arguments in (["refresh", "active"], ["worker", "--once"], ["invalidate", "active"]):
            command = crew.manage("kck", *arguments)
            assert command.wait() == 1, command.output
            assert "can only be read: it is a standby" in command.output, command.output
            assert "Traceback" not in command.output, command.output
        for arguments in (
            ["get", "active"],
            ["check", "--balance", "active"],
            ["stocks"],
            ["explain", "trial"],
        ):
            command = crew.manage("kck", *arguments)
            assert command.wait() == 0, command.output
        psql(follower.url, "SELECT pg_promote()")
        crew.spawn(refresh_and_write).result()


def test_where_a_router_names_the_primary_computing_goes_there(primary: postgres.Server) -> None:
    routed = {"DJANGO_SETTINGS_MODULE": "tests.counting.behind_standby", "PRIMARY_URL": primary.url}
    with standby(primary, **PREPARED) as follower, Crew(follower.url) as crew:
        assert crew.spawn(position, "pg_is_in_recovery()", env=routed).result() == "True"
        assert crew.spawn(compute_by_router, env=routed).result() == {"trial": 2, "abroad": 50}
        assert (
            psql(primary.url, "SELECT primed_at IS NOT NULL FROM kck_generation WHERE key_base = 'trial'")
            == "t"
        )


# -- a subscriber


def test_on_a_logical_subscriber_a_stock_is_not_taken_for_captured_and_each_read_counts() -> None:
    logical = {"wal_level": "logical"}
    with (
        postgres.server(options=logical) as publisher,
        postgres.server(options=logical) as subscriber,
        Crew(publisher.url) as there,
        Crew(subscriber.url) as here,
    ):
        for crew in (there, here):
            assert crew.manage("migrate", "--run-syncdb", "-v0").wait() == 0
        assert here.spawn(write_and_read).result()["read"] == {"new": 1}
        assert here.spawn(read).result()["state"] == "fresh"
        psql(subscriber.url, "TRUNCATE accounts_account")
        psql(publisher.url, "CREATE PUBLICATION accounts FOR TABLE accounts_account, accounts_branch")
        psql(
            subscriber.url,
            f"CREATE SUBSCRIPTION accounts CONNECTION '{publisher.url}' PUBLICATION accounts",
        )
        rows = "SELECT count(*) FROM accounts_account"
        try:
            for number in (1, 2, 3):
                there.spawn(write_and_read).result()
                until(
                    lambda number=number: psql(subscriber.url, rows) == str(number),  # type: ignore[misc]
                    "the row to arrive",
                )
                found = here.spawn(read).result()
                assert (found["read"], found["rows"]) == ({"new": number}, number)
                assert found["state"] == "empty"
                assert "not captured in this database" in found["cause"]
        finally:
            psql(subscriber.url, "DROP SUBSCRIPTION accounts")
        psql(subscriber.url, "SELECT setval('accounts_account_id_seq', 100)")
        # It is a table like any other again.
        here.spawn(read).result()
        assert here.spawn(write_and_read).result()["read"] == {"new": 4}
        assert here.spawn(read).result()["state"] == "fresh"
