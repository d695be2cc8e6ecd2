"""Where a reader is in the log: a snapshot, not a number."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import TestCase
from hypothesis import given
from hypothesis import strategies as st

from kck_flow import Cache, Message, Topic
from kck_flow.models import Cursor
from kck_flow.store.outbox import Place, Snapshot, body_of, text_of
from kck_flow.streams import topics
from kck_flow.streams.log import send, send_many
from kck_flow.testing import registered

T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)
committed = pytest.mark.django_db(transaction=True)


class Restored(Topic):
    """What a topic counts, before its log is restored into another server and after."""

    key_base = "restored"
    topics = ["m"]
    window = "1h"
    batch = 10


class InTest(Topic):
    """A topic inside of a plain test."""

    key_base = "in_a_test"
    topics = ["m"]


numbers = st.integers(3, 60)
snapshots = st.builds(
    lambda end, running: Snapshot(end, tuple(sorted(one for one in running if one < end))),
    numbers,
    st.sets(numbers, max_size=6),
)
places = st.builds(
    Place,
    st.none() | snapshots,
    st.none() | snapshots,
    numbers,
    numbers,
    floor=st.just(30),
    extra=st.sets(st.integers(1, 30), max_size=3).map(lambda ids: tuple(sorted(ids))),
) | st.builds(Place, st.none() | snapshots, st.none() | snapshots, numbers, numbers)


@given(places, places)
def test_a_place_survives_the_table(place: Place, earlier: Place) -> None:
    for counted in ((), ((earlier, T0, None), (earlier, None, (1, 5)))):
        one = Place(place.done, place.until, place.xact, place.id, counted, place.floor, place.extra)
        assert Place.from_json(one.to_json()) == one


@committed
def test_postgresql_reads_a_place_as_we_do() -> None:
    draw = random.Random(5)
    with connection.cursor() as cursor:
        for _ in range(300):
            end = draw.randrange(4, 40)
            seen = Snapshot(end, tuple(sorted(draw.sample(range(3, end), min(3, end - 3)))))
            xact = draw.randrange(3, 45)
            cursor.execute(
                "SELECT pg_visible_in_snapshot(%s::xid8, %s::pg_snapshot), %s::pg_snapshot::text",
                [str(xact), seen.text(), seen.text()],
            )
            visible = xact < seen.end and xact not in seen.running
            assert cursor.fetchone() == (visible, seen.text())
            assert Snapshot.of(seen.text()) == seen


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda some: st.lists(some) | st.dictionaries(st.text(), some),
        max_leaves=8,
    )
)
def test_every_body_survives_its_text(body: Any) -> None:
    assert body_of(text_of(body)) == body


@committed
@pytest.mark.parametrize("rewound", [False, True])
def test_a_log_that_was_restored_into_a_younger_server_is_read_on(rewound: bool) -> None:
    """The numbers of its transactions mean nothing there: they lie in the future."""
    cache = Cache.get_instance()
    with registered(Restored) as (topic,):
        assert isinstance(topic, Topic)
        topics.begin(topic)
        send_many([Message("m", 1, f"m{n}", T0) for n in range(35)])
        topics.turn(topic, 0)
        topics.turn(topic, 0)  # 20 of 35: in the middle of a round
        far = 10**9
        with connection.cursor() as cursor:
            cursor.execute("UPDATE kck_outbox SET xact = (xact::text::bigint + %s)::text::xid8", [far])
        one = Cursor.objects.get(reader="restored")
        place = Place.from_json(one.position)

        def moved(seen: Snapshot | None) -> Snapshot | None:
            return (
                Snapshot(seen.end + far, tuple(x + far for x in seen.running)) if seen is not None else None
            )

        later = Place(moved(place.done) or Snapshot(far), moved(place.until), place.xact + far, place.id)
        Cursor.objects.filter(reader="restored").update(position={**later.to_json(), "of": 1})
        topics.drain(["restored"])
        assert cache.get("restored/2026-03-01T10") == 35
        send_many([Message("m", 1, f"n{n}", T0) for n in range(25)])
        topics.drain(["restored"])
        assert cache.get("restored/2026-03-01T10") == 60
        if rewound:
            topics.rewind(topic, T0)
            assert cache.get("restored/2026-03-01T10") == 0
            send("m", 1, id="last", at=T0)
            topics.drain(["restored"])
            assert cache.get("restored/2026-03-01T10") == 61
        assert topics.drain(["restored"]) == 0


class TopicsInATestCase(TestCase):
    """Everything happens on the test's own connection, and goes with the test."""

    def test_messages_are_handled_and_gone_afterwards(self) -> None:
        with registered(InTest):
            topics.drain()
            send("m", 1)
            send("m", 2, id="x")
            assert topics.drain() == 2
            assert Cache.get_instance().get("in_a_test") == 2

    def test_what_another_test_sent_is_not_there(self) -> None:
        with registered(InTest):
            assert send("m", 2, id="x") is True
            topics.drain()
            assert Cache.get_instance().get("in_a_test") == 1
