"""Run by ``test_users.py`` in a process of its own."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.checks import run_checks
from django.test import TestCase
from django.utils import timezone

from kck_flow import Cache
from kck_flow.testing import (
    assert_augment_equals_compute,
    assert_computes,
    assert_value,
    registered,
    run_worker,
)
from primers import users
from tests.primers.members.models import Member

KATHMANDU = ZoneInfo("Asia/Kathmandu")  # 5:45 ahead of UTC


def joined(*when: int) -> datetime:
    moment = datetime(*when, tzinfo=KATHMANDU)  # type: ignore[misc, arg-type]
    return moment if settings.USE_TZ else timezone.make_naive(moment)


class Members(TestCase):
    def setUp(self) -> None:
        self.cache = Cache.get_instance()

    def test_nothing_is_declared_wrongly(self) -> None:
        assert run_checks(tags=["kck"]) == []

    def test_a_column_that_the_model_does_not_have_is_told_by_name(self) -> None:
        with registered(type("Accounts", (users.Accounts,), {"key_base": "accounts"})):
            [told] = run_checks(tags=["kck"])
        assert "watches the field 'is_active' of members.Member, which has none" in told.msg

    def test_new_members_by_day(self) -> None:
        days = ["2026-01-30", "2026-01-31"]
        keys = [f"{base}/{day}" for base in ("new_members", "new_members_list") for day in days]
        self.cache.get_many(keys)
        with assert_computes(0):
            anna = Member.objects.create(email="anna@x.example", created_at=joined(2026, 1, 31, 0, 0))
            ben = Member.objects.create(
                email="ben@x.example", created_at=joined(2026, 1, 30, 23, 59), hidden=True
            )
            assert [self.cache.get(key) for key in keys[:2]] == [1, 1]
            assert [one["id"] for one in self.cache.get(keys[3])] == [anna.pk]
            ben.created_at += timedelta(minutes=1)
            ben.save()
            assert [self.cache.get(key) for key in keys[:2]] == [0, 2]
            assert [one["id"] for one in self.cache.get(keys[3])] == sorted([anna.pk, ben.pk])
            run_worker()
        for key in keys:
            assert_augment_equals_compute(key)

    def test_active_members(self) -> None:
        assert_value("active_members", 0)
        now = datetime.now(UTC)
        anna = Member.objects.create(
            email="anna@x.example", last_login=now if settings.USE_TZ else timezone.make_naive(now)
        )
        assert_value("active_members/1", 1)
        anna.delete()
        assert_value("active_members/1", 0)
