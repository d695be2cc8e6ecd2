"""Who waits for what sources remember, and for how long; what of it cannot be had is never taken for had."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.test import TestCase, override_settings

from kck_flow import Cache, Message
from kck_flow.errors import NotPrimed
from kck_flow.models import Cursor, Outbox
from kck_flow.streams import intake, topics
from kck_flow.streams.log import send
from kck_flow.testing import registered
from tests.harness.wait import until
from tests.topics.test_history import Remembering, ago, consumed, handled, topic_of

committed = pytest.mark.django_db(transaction=True)
cache = Cache.get_instance()
SOURCES = {"SOURCES": {"past": {"source": Remembering}}}


@pytest.fixture
def declared(settings: Any) -> Iterator[Remembering]:
    """A source that remembers, and that all processes know of, whether they open it or not."""
    settings.KCK_FLOW = SOURCES
    return Remembering()


def told(source: Remembering, name: str) -> int:
    """How many messages of a source a topic is to have, by when it begins."""
    since = Cursor.objects.filter(reader=name).earliest("part").since
    return sum(since is None or (one.at is not None and one.at >= since) for one in source.sent)


def waits_for(name: str) -> tuple[str, ...]:
    return topics.lag(topics.topics([name])[0]).waits_for


@committed
def test_a_topic_that_begins_where_the_source_is_not_opened_waits_for_it_all_the_same(
    declared: Remembering,
) -> None:
    long, short = topic_of("rem_long", epoch=ago(days=3)), topic_of("rem_short", epoch=ago(days=1))
    with registered(long, short):
        consumed(declared, lambda: handled("rem_long") >= 432 and handled("rem_short") >= 144)
        with registered(topic_of("rem_late", epoch=long.epoch)):
            assert topics.drain(["rem_late"]) == 0
            with pytest.raises(NotPrimed, match="waits for the history of past"):
                cache.get("rem_late")
            assert waits_for("rem_late") == ("past",)
            consumed(declared, lambda: handled("rem_late") >= 432)
            assert cache.get("rem_late") == cache.get("rem_long") == told(declared, "rem_late")
            assert waits_for("rem_late") == ()


@override_settings(KCK_FLOW=SOURCES)
class InATest(TestCase):
    def test_nothing_waits_where_nobody_could_fetch_it(self) -> None:
        with registered(topic_of("rem_in_a_test")):
            send("h", 1)
            assert topics.drain() == 1
            assert cache.get("rem_in_a_test") == 1


@committed
def test_a_source_that_goes_by_another_name_now_is_not_waited_for(
    declared: Remembering, settings: Any, caplog: Any
) -> None:
    with registered(topic_of("rem_renamed", epoch=ago(days=2), window="1h")):
        send("h", 1)
        assert topics.drain() == 0
        settings.KCK_FLOW = {"SOURCES": {"other_name": {"source": Remembering}}}
        assert topics.drain() == 1
        assert "topic.waits_no_more family=rem_renamed part=0 sources=past" in caplog.text
        # Nobody asked the source that is gone: what it may have sent before is not taken for had.
        points = cache.series("rem_renamed", ago(hours=30), ago(hours=28))
        assert not any(point.complete for point in points)
        assert topics.drain() == 0
        assert caplog.text.count("topic.waits_no_more") == 1


@committed
def test_of_two_sources_that_remember_a_topic_is_given_what_each_of_them_does(settings: Any) -> None:
    one, other = Remembering(days=2), Remembering(days=2)
    settings.KCK_FLOW = {"SOURCES": {"past": {"source": Remembering}, "other": {"source": Remembering}}}
    with registered(topic_of("rem_two", epoch=ago(days=1))):
        consumed(one, lambda: waits_for("rem_two") == ("other",))
        consumed(other, lambda: handled("rem_two") >= 288, name="other")
        assert cache.get("rem_two") == told(one, "rem_two") + told(other, "rem_two")
        # And what each has brought since is in the log: whoever begins next need not ask for it again.
        with registered(topic_of("rem_both", epoch=ago(hours=12))):
            given = one.given.total() + other.given.total()
            consumed(one, lambda: waits_for("rem_both") == ("other",))
            consumed(other, lambda: handled("rem_both") >= 144, name="other")
            assert one.given.total() + other.given.total() - given < 5


class Deleting(Remembering):
    """A source that takes so long to tell of its past that the log is deleted from meanwhile."""

    deleting = False

    def history(self, since: datetime, until: datetime) -> Iterator[Message]:
        if self.deleting:
            self.deleting = False
            call_command("kck", "prune", verbosity=0)
        yield from super().history(since, until)


@committed
@pytest.mark.parametrize("meanwhile", [False, True])
def test_what_was_deleted_from_the_log_is_not_counted_again_by_those_who_may_have_counted_it(
    declared: Remembering, meanwhile: bool
) -> None:
    source = Deleting(days=11)
    with registered(topic_of("rem_deleted", epoch=ago(days=10), window="1h")):
        consumed(source, lambda: handled("rem_deleted") >= 1440)
        assert counted("rem_deleted") == 1440
        # It was killed before it could say so; then eight days pass, and what all have read is deleted.
        Cursor.objects.filter(reader="rem_deleted").update(fetched=None)
        Cursor.objects.filter(reader="source:past").update(begun_at=ago(days=20), fetched=None)
        Outbox.objects.update(received_at=ago(days=9))
        source.deleting = meanwhile
        if not meanwhile:
            call_command("kck", "prune", verbosity=0)
        fetched = Cursor.objects.filter(
            reader="rem_deleted", fetched__past__0__0__lte=ago(days=9).isoformat()
        )
        consumed(source, fetched.exists)
        with registered(topic_of("rem_after", epoch=ago(days=9))):
            consumed(source, lambda: handled("rem_after") >= 1296)
            assert counted("rem_deleted") == 1440
            assert cache.get("rem_after") == 1296
        pruned = Cursor.objects.get(reader="log").since
        assert ago(days=8, hours=1) < pruned < ago(days=7, hours=23)
        points = cache.series("rem_deleted", ago(days=9), ago(hours=2))
        assert [point.complete for point in points] == [point.start >= pruned for point in points]


def counted(name: str) -> int:
    return sum(point.value or 0 for point in cache.series(name, ago(days=12), datetime.now(UTC)))


def bridge_of(source: Remembering, stopping: threading.Event) -> intake.Bridge:
    return intake.Bridge("past", lambda: source, ["default"], stopping)


@committed
@pytest.mark.parametrize("dies", [False, True])
def test_of_two_that_open_a_source_one_fetches_what_it_remembers(
    declared: Remembering, dies: bool, monkeypatch: Any
) -> None:
    monkeypatch.setattr(intake, "LOOK_SECONDS", 0.01)
    stopping = threading.Event()
    declared.gate, other = threading.Event(), Remembering()
    with registered(topic_of("rem_shared", epoch=ago(days=3))):
        bridges = [bridge_of(declared, stopping)]
        bridges[0].start()
        try:
            until(lambda: declared.asked, "one to fetch")
            other.live = [Message("h", 1, "live")]
            bridges.append(bridge_of(other, stopping))
            bridges[1].start()
            # It brings what comes, and looks again and again whether the other is done.
            until(lambda: Outbox.objects.filter(message_id="live").exists(), "the other to go on")
            assert not other.asked
            assert not bridges[1].idle.is_set()
            if dies:
                Cursor.objects.filter(reader="history:past").update(moved_at=ago(seconds=1))
                until(lambda: waits_for("rem_shared") == (), "the other to take over")
                assert other.asked
            declared.gate.set()
            until(lambda: bridges[0].idle.is_set() and bridges[1].idle.is_set(), "both to be done")
        finally:
            declared.gate.set()
            stopping.set()
            for one in bridges:
                one.join(20)
        topics.drain()
        assert cache.get("rem_shared") == 433
        given = declared.given + other.given
        assert (max(given.values()) == 1) != dies
        assert not Cursor.objects.filter(reader="history:past").exists()
