"""What flows could not see is said, for good: hole 5 of a capture that was bypassed, never silent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, migrations, transaction

from kck_flow import Cache, Flow, Process
from kck_flow.changes import gaps, tables, triggers
from kck_flow.store.session import caller
from kck_flow.testing import registered, run_worker
from tests.accounts.models import Account
from tests.accounts.primers import Closed, Converting, Departing, Paying, SigningUp, Trial
from tests.counting.conftest import Session, sql
from tests.harness.wait import until

committed = pytest.mark.django_db(transaction=True)

DISABLE = "ALTER TABLE accounts_account DISABLE TRIGGER kck_capture_update"


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "transactional_db" in request.fixturenames:
        triggers.install("default")


def look() -> list[str]:
    return gaps.look(caller("default"))


def missed(name: str) -> list[tuple[Any, Any, str]]:
    return sql(
        "SELECT p.start_at, p.end_at, p.cause FROM kck_gap p JOIN kck_generation g USING (generation) "
        "WHERE g.live AND g.key_base = %s ORDER BY p.start_at",
        name,
    )


def backdate(hours: int = 5) -> None:
    """As if all had been captured for some hours, and looked at now."""
    look()
    sql("UPDATE kck_generation SET made_at = now() - %s * interval '1 hour' WHERE live", hours)


def whole(name: str, hours: int = 3) -> list[bool]:
    """Return whether each of the last windows that are over is complete, the oldest first."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return [point.complete for point in Cache.get_instance().series(name, now - timedelta(hours=hours), now)]


def seen_last(name: str, hours: float) -> None:
    """As if it had been looked at last so long ago."""
    sql(
        "UPDATE kck_generation SET whole_at = now() - %s * interval '1 hour' WHERE key_base = %s AND live",
        hours,
        name,
    )


@committed
def test_what_was_missed_stays_told_after_the_triggers_are_put_back(cache: Cache) -> None:
    backdate()
    before = datetime.now(UTC)
    assert whole("converting") == [True, True, True]
    Account.objects.create(state="trial")
    sql(DISABLE)
    Account.objects.update(state="active")  # nobody sees it
    assert "converting" in look()
    ((start, end, cause),) = missed("converting")
    assert end is None
    assert cause == "capture"
    assert look()
    assert missed("converting") == [(start, None, "capture")]  # one gap, however often it is looked at
    entry = cache.get_entry("converting")
    assert entry.gaps == ((start, None),)
    told = cache.explain("converting")
    assert "not captured whole" in told["cause"]
    assert "was missed, for good" in told["cause"]
    triggers.install("default")
    ((_, end, _),) = missed("converting")
    assert before - timedelta(minutes=1) < start <= end <= datetime.now(UTC)
    assert look() == []
    told = cache.explain("converting")
    assert told["state"] == "fresh"
    assert "was missed, for good" in told["cause"]
    assert told["counted"]["gaps"] == ((start, end),)
    assert cache.get_entry("converting").gaps == ((start, end),)
    this = cache.series("converting", before, datetime.now(UTC))
    assert not any(point.complete for point in this)
    assert whole("converting") == [True, True, True]  # those before are what they were
    Account.objects.update(state="trial")
    Account.objects.update(state="active")
    assert cache.get("converting")["value"] == 1


@committed
def test_a_gap_that_ended_unseen_is_found_by_the_next_look_from_where_it_was_last_seen_whole() -> None:
    backdate()
    now = datetime.now(UTC)
    seen_last("converting", 1.5 + now.minute / 60)  # in the middle of the last but one
    sql(DISABLE)
    sql("ALTER TABLE accounts_account ENABLE ALWAYS TRIGGER kck_capture_update")
    assert whole("converting") == [True, True, True]
    # A read has a thread look, too: whichever of the two comes second leaves it to the other.
    until(lambda: look() == [] and missed("converting"), "the gap to be noted")
    assert len(missed("converting")) == 1
    assert whole("converting") == [True, False, False]
    assert look() == []
    assert len(missed("converting")) == 1


@committed
def test_a_window_is_not_complete_only_where_the_gap_is(cache: Cache) -> None:
    backdate(30)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    sql(
        "INSERT INTO kck_gap (generation, start_at, end_at) SELECT generation, %s, %s FROM kck_generation "
        "WHERE key_base = 'converting' AND live",
        now - timedelta(hours=4),
        now - timedelta(hours=3),
    )
    assert whole("converting", 6) == [True, True, False, True, True, True]
    assert [
        len(cache.get_entry(f"converting/{now - timedelta(hours=n):%Y-%m-%dT%H}").gaps) for n in (5, 4, 3)
    ] == [0, 1, 0]
    by_day = cache.series("converting", now - timedelta(hours=4), now, by="day")
    assert not by_day[0].complete


@committed
def test_triggers_that_are_replaced_without_a_gap_leave_none(cache: Cache) -> None:
    look()

    class Coming(Flow):
        key_base = "coming_now"
        sources, sinks = [None], [Trial]

    with registered(Coming):
        began = datetime.now(UTC)
        assert triggers.install("default") == ['"accounts_account"']
        assert look() == []
        assert sql("SELECT count(*) FROM kck_gap") == [(0,)]
        made = sql("SELECT made_at, whole_at, captured FROM kck_generation WHERE key_base = 'coming_now'")[0]
        assert made[0] >= began
        assert made[2] != ""
        Account.objects.create(state="trial")
        assert cache.get("coming_now")["value"] == 1
    triggers.install("default")
    assert sql("SELECT count(*) FROM kck_gap") == [(0,)]


@committed
def test_a_flow_counts_from_when_its_triggers_stand_and_not_from_when_it_was_declared(
    sessions: Callable[[], Session],
) -> None:
    class Coming(Flow):
        key_base = "coming_late"
        sources, sinks = [None], [Trial]

    writer = sessions()

    def write() -> None:
        transaction.set_autocommit(False)
        Account.objects.create(state="trial")

    def end() -> datetime:
        connection.commit()
        transaction.set_autocommit(True)
        return datetime.now(UTC)

    with registered(Coming):
        writer.do(write)
        installer = sessions()
        installer.tell(lambda: triggers.install("default"))
        until(
            lambda: bool(sql("SELECT 1 FROM pg_locks WHERE NOT granted")),
            "the install to wait for the writer",
        )
        ended = writer.do(end)
        installer.answer()
        assert sql("SELECT made_at > %s FROM kck_generation WHERE key_base = 'coming_late'", ended - timedelta(
            milliseconds=50)) == [(True,)]  # fmt: skip
        assert Cache.get_instance().get("coming_late")["value"] == 0
    triggers.install("default")


@committed
def test_a_truncate_is_a_gap_of_the_flows_to_the_outside_in_its_own_transaction(cache: Cache) -> None:
    Account.objects.create(state="trial")
    with transaction.atomic():
        sql("TRUNCATE accounts_account CASCADE")
        transaction.set_rollback(True)
    assert missed("departing") == []
    sql("TRUNCATE accounts_account CASCADE")
    ((start, end, cause),) = missed("departing")
    assert cause == "truncate"
    assert end - start == timedelta(microseconds=1)
    assert missed("converting") == missed("signing_up") == []  # nothing comes in by a TRUNCATE
    assert "was missed, for good" in cache.explain("departing")["cause"]
    assert not cache.series("departing", start, end)[0].complete


@committed
def test_what_a_transaction_older_than_the_look_misses_is_in_the_gap(sessions: Callable[[], Session]) -> None:
    one = sessions()
    one.sql("BEGIN")
    (began,) = one.sql("SELECT transaction_timestamp()")[0]
    look()
    sql(DISABLE)
    one.sql("UPDATE accounts_account SET state = 'active'")  # would count as of when its transaction began
    one.sql("COMMIT")
    look()
    assert missed("converting")[0][0] <= began


@committed
def test_restored_into_another_place_is_a_gap_since_it_was_last_seen_whole() -> None:
    backdate()
    seen_last("converting", 2)
    # As a dump of another cluster says it.
    sql("UPDATE kck_generation SET captured = 'of another cluster' WHERE key_base = 'converting' AND live")
    look()
    ((start, end, _),) = missed("converting")
    assert end is not None
    assert timedelta(hours=1.9) < datetime.now(UTC) - start < timedelta(hours=2.1)
    look()
    assert len(missed("converting")) == 1


@committed
def test_migrating_the_app_is_a_gap_as_short_as_it_was() -> None:
    backdate()
    seen_last("converting", 2)
    before = datetime.now(UTC)
    with transaction.atomic():
        triggers._take_off(caller("default"), '"accounts_account"', noted=True)
    assert missed("converting") == []
    triggers.install("default")
    ((start, end, _),) = missed("converting")
    assert before - timedelta(seconds=1) < start <= end
    assert whole("converting") == [True, True, True]


@committed
def test_workers_and_reads_and_checks_look(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    look()
    sql(DISABLE)
    run_worker()
    assert len(missed("converting")) == 1
    with pytest.raises(SystemExit):
        call_command("kck", "check", "--setup")
    said = capsys.readouterr().out
    assert "✗ gaps: converting: what moved since" in said
    triggers.install("default")
    call_command("kck", "check", "--setup")
    assert "! gaps: converting: what moved" in capsys.readouterr().out
    call_command("kck", "flows", "converting", "--format", "json")
    found = json.loads(capsys.readouterr().out)
    assert len((found[0] if isinstance(found, list) else found)["gaps"]) == 1
    call_command("kck", "explain", "converting")
    assert "was missed, for good" in capsys.readouterr().out


@committed
def test_a_process_that_only_reads_has_somebody_look(cache: Cache) -> None:
    look()
    sql(DISABLE)
    from kck_flow.cache import flows

    flows.forget()
    cache.get("converting")
    until(lambda: len(missed("converting")) == 1, "a thread to have looked")


@committed
def test_two_that_look_at_once_note_one_gap(sessions: Callable[[], Session]) -> None:
    look()
    sql(DISABLE)
    sql("ALTER TABLE accounts_account ENABLE ALWAYS TRIGGER kck_capture_update")
    those = [sessions() for _ in range(4)]
    for one in those:
        one.tell(look)
    for one in those:
        one.answer()
    look()
    assert len(missed("converting")) == 1


@pytest.mark.django_db
def test_in_a_test_case_a_gap_is_told_too(cache: Cache) -> None:
    look()
    sql(DISABLE)
    assert "not captured whole" in cache.explain("converting")["cause"]
    assert cache.get_entry("converting").gaps != ()


@committed
def test_check_balance_says_of_a_process_what_its_flows_missed(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    class Signing(Process):
        key_base = "signing_process"
        stocks, flows = [Trial, Paying, Closed], [SigningUp, Converting, Departing]

    with registered(Signing):
        Account.objects.create(state="trial")
        cache.refresh("signing_process")
        call_command("kck", "check", "--balance", "signing_process")
        assert "1 balanced, 0 with a rest or skipped" in capsys.readouterr().out
        look()
        sql(DISABLE)
        Account.objects.update(state="active")
        triggers.install("default")
        cache.refresh("signing_process")
        call_command("kck", "check", "--balance", "signing_process")
        said = capsys.readouterr().out
        assert "! signing_process: of converting, what moved" in said
        assert "0 balanced, 1 with a rest or skipped" in said


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("operation", "backwards", "off"),
    [
        (migrations.CreateModel("Other", []), False, False),
        (migrations.AlterModelOptions("account", {}), False, False),
        (migrations.CreateModel("Other", []), True, True),
        (migrations.RenameField("account", "note", "notes"), False, True),
    ],
    ids=["another table", "options", "another table, back", "a column"],
)
def test_a_migration_that_changes_no_table_leaves_the_triggers_on(
    operation: Any, backwards: bool, off: bool
) -> None:
    migration = migrations.Migration("0099_more", "accounts")
    migration.operations = [operation]
    last = next(one for one in apps.get_app_configs() if one.name == tables.last_app())
    triggers.install("default")
    try:
        triggers._before_migrate(last, "default", plan=[(migration, backwards)])
        assert (triggers.missing("default") != []) is off
    finally:
        triggers.install("default")
