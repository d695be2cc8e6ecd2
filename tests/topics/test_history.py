"""What a source remembers: each interval is fetched once, for all that lack it. Rows 187 to 190, 192."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from kck_flow import Cache, Message, Source, Topic
from kck_flow.models import Cursor, Outbox
from kck_flow.store import cursors
from kck_flow.streams import catching_up, consuming, intake, remembering, topics
from kck_flow.streams.log import send
from kck_flow.testing import registered
from tests.harness.wait import until

committed = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


def ago(**more: float) -> datetime:
    return datetime.now(UTC) - timedelta(**more)


class Remembering(Source):
    """A source that remembers all that it sent: a message each ten minutes."""

    def __init__(self, days: float = 10) -> None:
        self.asked: list[tuple[datetime, datetime]] = []
        self.given: Counter[str] = Counter()
        now = datetime.now(UTC)
        self.sent = [
            Message("h", 1, f"h{n}", now - timedelta(minutes=10 * n)) for n in range(int(days * 144))
        ]
        self.live: list[Message] = []
        self.fails_each = 0
        self.gate: threading.Event | None = None

    def open(self, position: Any = None) -> None: ...

    def fetch(self, most: int, timeout: float) -> Sequence[Message]:
        found, self.live = self.live[:most], self.live[most:]
        if not found:
            threading.Event().wait(min(timeout, 0.02))
        return found

    def ack(self, batch: Sequence[Message]) -> None: ...
    def nack(self, batch: Sequence[Message], delay: timedelta = timedelta(0)) -> None: ...

    def history(self, since: datetime, until: datetime) -> Iterator[Message]:
        self.asked.append((since, until))
        if self.gate is not None:
            assert self.gate.wait(20)
        for place, one in enumerate(sorted(self.sent, key=lambda one: one.at or T0)):
            if one.at is not None and since <= one.at < until:
                if self.fails_each and len(self.asked) % self.fails_each == 0 and place % 2:
                    raise OSError("the page was not to be had")
                self.given[one.id] += 1
                yield one


def topic_of(name: str, **attributes: Any) -> type[Topic]:
    return type(name, (Topic,), {"key_base": name, "topics": ["h"], **attributes})


def consumed(source: Remembering, enough: Any, name: str = "past") -> None:
    """Run a consumer until something is so."""
    intake.PAUSE = 0.01
    consumer = consuming.Consumer(consuming.Options(sources=[(name, lambda: source)]))

    def serve() -> None:
        try:
            consumer.serve()
        finally:
            connections.close_all()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        until(enough, "the consumer to come so far")
    finally:
        consumer.stop()
        thread.join(30)
        remembering.opened.clear()
    assert not thread.is_alive()


def handled(name: str) -> int:
    return sum(Cursor.objects.filter(reader=name).values_list("messages", flat=True))


@committed
def test_two_topics_with_different_beginnings_fetch_each_interval_once_rows_187_189_190() -> None:
    cache, source = Cache.get_instance(), Remembering()
    long, short = (
        topic_of("past_long", epoch=ago(days=7)),
        topic_of("past_short", max_replay=timedelta(days=2)),
    )
    with registered(long, short):
        consumed(source, lambda: handled("past_long") >= 1008 and handled("past_short") >= 288)
        assert max(source.given.values()) == 1
        assert min(since for since, _ in source.asked) == long.epoch  # nothing before the epoch is requested
        edges = sorted(source.asked)
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(edges))
        since = {one.reader: one.since for one in Cursor.objects.exclude(since=None)}
        for name in ("past_long", "past_short"):
            own = sum(one.at is not None and one.at >= since[name] for one in source.sent)
            assert cache.get(name) == own, name


@committed
def test_a_new_topic_is_caught_up_alone_while_the_others_go_on_row_188() -> None:
    cache, source = Cache.get_instance(), Remembering()
    with registered(topic_of("going_on", epoch=ago(days=1))):
        consumed(source, lambda: handled("going_on") >= 144)
        first = len(source.asked)
        before = cache.get("going_on")
        with registered(topic_of("coming_late", epoch=ago(days=3))):
            source.gate = threading.Event()
            lags = []

            def goes_on() -> bool:
                send("h", 1)
                lags.append(topics.lag(topics.topics(["going_on"])[0]).seconds)
                if len(source.asked) > first and cache.get("going_on") >= before + 5:
                    assert source.gate is not None
                    source.gate.set()
                return handled("coming_late") >= 432

            consumed(source, goes_on)
            assert max(lag for lag in lags[3:] if lag is not None) < 5
            topics.drain()
            own = Outbox.objects.filter(source="").count()
            assert cache.get("going_on") == before + own
            # What it counts was fetched for it alone: what the other had counted, it has counted once.
            epoch = Cursor.objects.get(reader="coming_late").since
            told = sum(one.at is not None and one.at >= epoch for one in source.sent)
            assert cache.get("coming_late") == told + own
            assert max(source.given.values()) == 1


@committed
def test_a_page_that_cannot_be_had_is_asked_for_again_and_never_passed_over_row_192() -> None:
    cache, source = Cache.get_instance(), Remembering(days=4)
    source.fails_each = 3
    with registered(topic_of("with_failures", epoch=ago(days=3))):
        consumed(source, lambda: handled("with_failures") >= 432)
        epoch = Cursor.objects.get(reader="with_failures").since
        assert cache.get("with_failures") == sum(
            one.at is not None and one.at >= epoch for one in source.sent
        )


@committed
def test_what_was_sent_while_nobody_listened_is_for_all() -> None:
    cache, source = Cache.get_instance(), Remembering(days=2)
    with registered(topic_of("with_a_gap", max_replay=timedelta(days=7)), topic_of("without_bounds")):
        consumed(source, lambda: handled("with_a_gap") >= 288)
        before = [cache.get(name) for name in ("with_a_gap", "without_bounds")]
        # An hour passes without anybody; then somebody is there again.
        reader = topics.source_reader("past")
        then = datetime.now(UTC)
        source.sent += [Message("h", 1, f"gap{n}", then - timedelta(microseconds=n)) for n in range(20)]
        consumed(source, lambda: handled("with_a_gap") >= before[0] + 20)
        topics.drain()
        assert [cache.get(name) for name in ("with_a_gap", "without_bounds")] == [one + 20 for one in before]
        assert Cursor.objects.get(reader=reader).fetched is not None


instants = st.integers(0, 30).map(lambda n: T0 + timedelta(hours=n))
intervals = st.lists(st.tuples(instants, instants).filter(lambda pair: pair[0] < pair[1]), max_size=5)


@given(st.dictionaries(st.sampled_from("abc"), intervals.map(cursors.joined), min_size=1))
def test_what_is_wanted_is_fetched_once_for_all_that_want_it(lacking: dict[str, Any]) -> None:
    wanted = catching_up.wants(lacking)
    assert all(one.end <= two.start for one, two in itertools.pairwise(wanted))
    for hour in range(30):
        at = T0 + timedelta(hours=hour, minutes=30)
        who = {name for name, listed in lacking.items() if any(start <= at < end for start, end in listed)}
        assert {name for one in wanted if one.start <= at < one.end for name in one.topics} == who


@given(intervals, intervals)
def test_intervals_without_others(some: Any, taken: Any) -> None:
    left = cursors.without(some, taken)
    assert left == cursors.joined(left)
    for hour in range(30):
        at = T0 + timedelta(hours=hour, minutes=30)
        within = [any(start <= at < end for start, end in listed) for listed in (some, taken, left)]
        assert within[2] == (within[0] and not within[1])
