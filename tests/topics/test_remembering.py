"""Who waits for what sources remember, and for how long; what of it cannot be had is never taken for had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import TestCase, override_settings

from kck_flow import Cache
from kck_flow.errors import NotPrimed
from kck_flow.models import Cursor
from kck_flow.streams import topics
from kck_flow.streams.log import send
from kck_flow.testing import registered
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
            assert topics.lag(topics.topics(["rem_late"])[0]).waits_for == ("past",)
            consumed(declared, lambda: handled("rem_late") >= 432)
            assert cache.get("rem_late") == cache.get("rem_long") == told(declared, "rem_late")
            assert topics.lag(topics.topics(["rem_late"])[0]).waits_for == ()


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
