"""Users: saving one makes the numbers right, and counts nobody again where that can be had."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.test import Client, override_settings
from django.utils import timezone

from kck_flow import Cache
from kck_flow.errors import InvalidKey
from kck_flow.mistakes import problems
from kck_flow.primer import names_of
from kck_flow.testing import (
    assert_augment_equals_compute,
    assert_computes,
    assert_value,
    freeze_time,
    registered,
    run_worker,
)
from primers import users
from tests.harness.daemons import ROOT

PARIS = ZoneInfo("Europe/Paris")


class Accounts(users.Accounts):
    key_base = "accounts"


class ActiveUsers(users.ActiveUsers):
    key_base = "active_users"


class NewUsers(users.NewUsers):
    key_base = "new_users"
    tz = "Europe/Paris"


class NewUsersList(users.NewUsersList):
    key_base = "new_users_list"
    tz = "Europe/Paris"


DECLARED = (Accounts, ActiveUsers, NewUsers, NewUsersList)


@pytest.fixture
def cache(db: None) -> Iterator[Cache]:
    with registered(*DECLARED):
        yield Cache.get_instance()


def at(text: str, zone: Any = PARIS) -> datetime:
    """Return an instant in the form in which the project keeps them."""
    moment = datetime.fromisoformat(text).replace(tzinfo=zone)
    return moment if settings.USE_TZ else timezone.make_naive(moment)


def user(name: str, **columns: Any) -> User:
    return User.objects.create(username=name, **columns)


# -- declarations --------------------------------------------------------------------------------------------


def test_importing_declares_nothing_and_a_name_declares() -> None:
    for ready in (users.Accounts, users.ActiveUsers, users.NewUsers, users.NewUsersList):
        assert names_of(ready) == ()
    assert [problems(declared) for declared in DECLARED] == [[]] * 4


@pytest.mark.django_db
def test_manage_py_check_has_nothing_to_say() -> None:
    with registered(*DECLARED):
        call_command("check", tags=["kck"])


def test_a_zone_that_does_not_exist_is_told_when_the_primer_is_set_up() -> None:
    with pytest.raises(Exception, match="Europe/Atlantis"):
        type("Nowhere", (users.NewUsers,), {"key_base": "nowhere", "tz": "Europe/Atlantis"})()


# -- accounts ------------------------------------------------------------------------------------------------


def test_accounts_follow_each_save_and_nobody_counts_again(cache: Cache) -> None:
    anna, ben = user("anna"), user("ben", is_active=False)
    assert_value("accounts", {"active": 1, "inactive": 1})
    with assert_computes(0):
        user("carla")
        assert_value("accounts", {"active": 2, "inactive": 1})
        ben.is_active = True
        ben.save()
        assert_value("accounts", {"active": 3, "inactive": 0})
        anna.first_name = "Anna"
        anna.save()
        anna.delete()
        assert_value("accounts", {"active": 2, "inactive": 0})
        run_worker()
        assert_value("accounts", {"active": 2, "inactive": 0})
    assert_augment_equals_compute("accounts")


def test_signing_in_changes_no_account(cache: Cache) -> None:
    anna = user("anna")
    run_worker()
    before = cache.get_entry("accounts")
    with assert_computes(0, "accounts"):
        Client().force_login(anna)
        run_worker(["accounts"])
    assert cache.get_entry("accounts").version == before.version


def test_the_daily_count_puts_right_what_signals_do_not_see(cache: Cache) -> None:
    with freeze_time() as clock:
        assert_value("accounts", {"active": 0, "inactive": 0})
        User.objects.bulk_create([User(username=f"user{number}") for number in range(3)])
        clock.move(days=1)
        cache.get("accounts")
        run_worker(["accounts"])
        assert_value("accounts", {"active": 3, "inactive": 0})


# -- active users --------------------------------------------------------------------------------------------


def test_whoever_signs_in_is_counted_at_once(cache: Cache) -> None:
    anna = user("anna")
    assert_value("active_users", 0)
    Client().force_login(anna)
    assert_value("active_users", 1)
    with assert_computes(0):
        assert_value("active_users/30", 1)


def test_only_those_count_who_signed_in_lately_and_may_again(cache: Cache) -> None:
    now = timezone.now()
    user("today", last_login=now)
    user("last_week", last_login=now - timedelta(days=6, hours=23))
    user("before", last_login=now - timedelta(days=7, minutes=1))
    user("never")
    gone = user("gone", last_login=now)
    assert cache.get_many(["active_users/1", "active_users/7", "active_users"]) == {
        "active_users/1": 2, "active_users/7": 3, "active_users": 4,
    }  # fmt: skip
    gone.is_active = False
    gone.save()
    assert_value("active_users/1", 1)
    gone.delete()
    assert_value("active_users", 3)


def test_a_name_that_changes_makes_nobody_count(cache: Cache) -> None:
    anna = user("anna", last_login=timezone.now())
    run_worker()
    cache.get("active_users")
    with assert_computes(0):
        anna.first_name = "Anna"
        anna.save()
        assert_value("active_users", 1)


@pytest.mark.parametrize("days", ["0", "-1", "3661", "99999999999999999999", "week", "1.5"])
def test_a_number_of_days_that_is_none_is_refused(cache: Cache, days: str) -> None:
    with pytest.raises(InvalidKey, match="a number of days from 1 to 3660"):
        cache.get(f"active_users/{days}")
    assert cache.build_key("active_users", days=3660) == "active_users/3660"
    with pytest.raises(InvalidKey):
        cache.build_key("active_users", days=0)


@pytest.mark.django_db(transaction=True)
@override_settings(KCK_FLOW={"REFRESH_IN_PROCESS": False})  # as where a worker lives
def test_readers_may_have_the_last_count_meanwhile() -> None:
    class Busy(users.ActiveUsers):
        key_base = "busy"
        depends_on = [users.on_users("last_login", "is_active", then="refresh")]

    anna = user("anna")
    with registered(Busy):
        assert_value("busy", 0)
        Client().force_login(anna)
        with assert_computes(0):
            assert_value("busy", 0)
        run_worker()
        assert_value("busy", 1)


# -- new users -----------------------------------------------------------------------------------------------


def test_a_day_is_that_of_the_named_zone(cache: Cache) -> None:
    for name, moment in (
        ("before", "2026-01-30T23:59:59"), ("first", "2026-01-31T00:00:00"), ("last", "2026-01-31T23:59:59"),
        ("after", "2026-02-01T00:00:00"),
    ):  # fmt: skip
        user(name, date_joined=at(moment))
    assert [cache.get(f"new_users/{day}") for day in ("2026-01-30", "2026-01-31", "2026-02-01")] == [1, 2, 1]
    names = [User.objects.get(pk=one["id"]).username for one in cache.get("new_users_list/2026-01-31")]
    assert names == ["first", "last"]


def test_days_on_which_clocks_change_have_their_own_length(cache: Cache) -> None:
    for day, hours in ((date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)):
        start = datetime(day.year, day.month, day.day, tzinfo=PARIS).astimezone(UTC)
        for hour in range(-1, 27):
            moment = start + timedelta(hours=hour)
            user(f"{day}{hour}", date_joined=moment if settings.USE_TZ else timezone.make_naive(moment))
        assert cache.get(f"new_users/{day}") == hours
        assert len(cache.get(f"new_users_list/{day}")) == hours


def test_new_users_follow_each_save_and_nobody_counts_again(cache: Cache) -> None:
    days = ["2026-01-30", "2026-01-31", "2026-02-01"]
    counts, lists = [f"new_users/{day}" for day in days], [f"new_users_list/{day}" for day in days]
    cache.get_many(counts + lists)

    def now() -> list[int]:
        return [cache.get(key) for key in counts]

    with assert_computes(0):
        anna = user("anna", date_joined=at("2026-01-31T00:30:00"))
        user("ben", date_joined=at("2026-01-31T00:15:00"))
        assert now() == [0, 2, 0]
        assert [one["id"] for one in cache.get(lists[1])] == [anna.pk + 1, anna.pk]
        anna.date_joined = at("2026-02-01T12:00:00")  # moved from one day to another: each has its own side
        anna.save()
        assert now() == [0, 1, 1]
        assert cache.get(lists[2]) == [{"id": anna.pk, "joined_at": comparable(anna.date_joined)}]
        anna.delete()
        assert now() == [0, 1, 0]
        run_worker()
        assert now() == [0, 1, 0]
    for key in counts + lists:
        assert_augment_equals_compute(key)


def comparable(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if settings.USE_TZ else moment


def test_after_any_history_they_are_what_a_count_says(cache: Cache) -> None:
    chance = random.Random(2026)
    days = [date(2026, 3, 27) + timedelta(days=number) for number in range(5)]
    keys = [f"{base}/{day}" for base in ("new_users", "new_users_list") for day in days] + ["accounts"]
    cache.get_many(keys)
    present: list[User] = []
    with assert_computes(0):
        for number in range(80):
            act = chance.random()
            moment = datetime(2026, 3, 26, tzinfo=UTC) + timedelta(minutes=chance.randrange(6 * 24 * 60))
            joined = moment if settings.USE_TZ else timezone.make_naive(moment)
            if act < 0.5 or not present:
                present.append(user(f"user{number}", date_joined=joined, is_active=chance.random() < 0.7))
            elif act < 0.8:
                one = chance.choice(present)
                one.date_joined, one.is_active = joined, not one.is_active
                one.save()
            else:
                present.remove(one := chance.choice(present))
                one.delete()
            if chance.random() < 0.1:
                run_worker()
        kept = cache.get_many(keys)
    assert sum(kept[f"new_users/{day}"] for day in days)
    for key in keys:
        assert_augment_equals_compute(key)


@pytest.mark.parametrize(
    "moment",
    ["0001-01-01T01:00Z", "9999-12-31T23:00Z", "1844-12-30T12:00Z", "2026-01-31T00:00Z", "2026-01-31T12:00Z"],
)
@pytest.mark.parametrize(
    "zone", ["Europe/Paris", "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Manila", "America/Juneau"]
)
def test_the_edge_names_the_day_of_every_zone(moment: str, zone: str) -> None:
    aware = datetime.fromisoformat(moment)
    named = users.days_anywhere(aware)
    assert 1 <= len(named) <= 3
    try:
        assert aware.astimezone(ZoneInfo(zone)).date() in named
    except OverflowError:
        pass  # before the first or after the last day there is


def test_a_user_at_the_end_of_time_can_be_saved(cache: Cache) -> None:
    cache.get("new_users/9999-12-30")
    user("late", date_joined=at("9999-12-31T23:30:00", timezone.get_default_timezone()))
    assert_value("new_users/9999-12-30", 0)


def test_an_instant_has_no_day_without_a_zone(cache: Cache) -> None:
    with pytest.raises(InvalidKey):
        cache.build_key("new_users", day=timezone.now())


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_was_never_there() -> None:
    with registered(*DECLARED):
        cache = Cache.get_instance()
        cache.get("accounts")
        with transaction.atomic():
            user("anna")
            assert_value("accounts", {"active": 1, "inactive": 0})
            transaction.set_rollback(True)
        with assert_computes(0):
            assert_value("accounts", {"active": 0, "inactive": 0})
            user("ben")
            assert_value("accounts", {"active": 1, "inactive": 0})
            run_worker()
            assert_value("accounts", {"active": 1, "inactive": 0})


# -- in other projects ---------------------------------------------------------------------------------------


@override_settings(USE_TZ=False, TIME_ZONE="America/New_York")
def test_naive_instants_are_those_of_the_project() -> None:
    with timezone.override("Asia/Tokyo"):
        naive = datetime.fromisoformat("2026-01-31T19:00")
        assert users.aware(naive).astimezone(UTC) == datetime(2026, 2, 1, 0, tzinfo=UTC)
        assert NewUsers().begins(date(2026, 2, 1)) == datetime.fromisoformat("2026-01-31T18:00")


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("environment", [{}, {"KCK_TEST_USE_TZ": "0", "KCK_TEST_TZ": "America/New_York"}])
def test_a_user_model_of_ones_own(environment: dict[str, str]) -> None:
    """In a process of its own, since a project has one user model: see ``members``."""
    assert get_user_model() is User
    done = subprocess.run(
        [sys.executable, "-m", "django", "test", "tests.primers.members", "--noinput"],
        cwd=ROOT,
        env=os.environ
        | environment
        | {"DJANGO_SETTINGS_MODULE": "tests.primers.members.settings", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 4 tests" in done.stderr
