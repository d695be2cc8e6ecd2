"""From what is delivered to a message."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kck_flow.codec import MAX_DEPTH
from kck_flow.message import LONGEST_TOPIC, Message
from kck_flow.sources.reading import AS, BATCH_BYTES, Coming, Reading, decoded, instant
from kck_flow.store.outbox import body_of, text_of
from kck_flow.testing.sources import BODIES, FOREIGN

WHEN = datetime(2026, 3, 1, 9, tzinfo=UTC)


def read(reading: Reading, payload: bytes = b"{}", **told) -> Message:
    return reading.message(**{"name": "orders", "topic": "t", "payload": payload, "headers": {}, **told})


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_json_arrives_as_it_was_sent(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        try:
            raw = text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
            continue
        assert decoded(raw) == (value, "")


@given(st.binary())
def test_all_bytes_arrive_as_something_that_the_log_can_hold(raw: bytes) -> None:
    message = read(Reading(), raw)
    assert body_of(text_of(message.body)) == message.body
    assert message.headers.get(AS) in (None, "text", "base64")


@pytest.mark.parametrize("raw", [*FOREIGN, *(raw for raw, _ in BODIES)], ids=lambda raw: repr(raw[:20]))
def test_what_is_foreign_can_be_held_by_the_log(raw: bytes) -> None:
    message = read(Reading(), raw)
    assert body_of(text_of(message.body)) == message.body


def test_what_is_no_json_says_what_it_is() -> None:
    assert decoded(b"plain") == ("plain", "text")
    assert decoded(b"\xff") == ("/w==", "base64")
    assert decoded(b"NaN") == ("NaN", "text")
    assert decoded(b"[1e999]") == ("[1e999]", "text")
    assert decoded(b"") == ("", "text")
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert decoded(deep)[1] == ""
    assert decoded(b"[" + deep + b"]") == ((b"[" + deep + b"]").decode(), "text")
    assert decoded(b'"' + b"[" * 1000 + b'"') == ("[" * 1000, "")


def test_ids_and_keys_come_from_headers_then_from_fields() -> None:
    reading = Reading(id="event.id", key="customer", at="at")
    body = b'{"event": {"id": 7}, "customer": "c", "at": "2026-03-01T10:00:00+01:00"}'
    message = read(reading, body, headers={"customer": b"h"}, id="the broker's")
    assert (message.id, message.key, message.at) == ("7", "h", WHEN)
    message = read(reading, b'{"event": {"id": {}}, "event.id": true}', id="the broker's", at=WHEN)
    assert (message.id, message.key, message.at) == ("the broker's", "", WHEN)
    assert read(Reading(id="a.b"), b'{"a.b": "dotted", "a": {"b": "nested"}}').id == "dotted"
    assert read(Reading(id="a.b"), b"[1]").id == ""


def test_what_has_no_id_is_told_of_once_with_an_instant_and_once_without(caplog) -> None:
    reading = Reading()
    for at in (None, WHEN, None, WHEN):
        read(reading, at=at)
    read(reading, id="m1")
    told = [record.getMessage() for record in caplog.records]
    assert ["delivered twice counts twice" in one for one in told] == [True, False]
    assert ["of the same instant count once" in one for one in told] == [False, True]
    assert all("source=orders topic=t" in one for one in told)


@pytest.mark.parametrize(
    "told",
    [
        "2026-03-01T10:00:00+01:00",
        "2026-03-01T09:00:00Z",
        "2026-03-01T09:00:00",
        1772355600,
        1772355600.0,
        "1772355600",
        1772355600_000,
        1772355600_000_000,
        1772355600_000_000_000,
        WHEN,
        WHEN.replace(tzinfo=None),
    ],
)
def test_instants_are_told_in_many_ways(told: object) -> None:
    assert instant(told) == WHEN


@pytest.mark.parametrize(
    "told", ["", "soon", None, True, [], {}, 1e300, float("nan"), float("inf"), "9" * 400]
)
def test_what_is_no_instant_is_none(told: object) -> None:
    assert instant(told) is None


def test_topics_are_renamed_and_chosen() -> None:
    reading = Reading(
        topics={"shop.*.paid": "paid", "shop.*": "shop", "a.b": "ab"}, only_topics=["paid", "x*"]
    )
    told = {name: reading.topic(name) for name in ("shop.eu.paid", "shop.eu", "a.b", "aXb", "xy\nz")}
    assert told == {"shop.eu.paid": "paid", "shop.eu": "shop", "a.b": "ab", "aXb": "aXb", "xy\nz": "xy\nz"}
    wanted = [name for name in told if reading.wants(read(reading, topic=name))]
    assert wanted == ["shop.eu.paid", "xy\nz"]
    assert len(read(reading, topic="x" * 10_000).topic) == LONGEST_TOPIC


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"topics": ["a"]}, "topics must be a dict"),
        ({"topics": {"a": ""}}, "none of them empty"),
        ({"only_topics": "orders.*"}, "only_topics must be a list of texts"),
        ({"key": 7}, "key must be the name"),
    ],
)
def test_wrong_options_are_told(options: dict, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        Reading(**options)


def test_a_batch_has_so_many_bytes_or_one_message() -> None:
    came, whole = Coming(), read(Reading())
    for size in (BATCH_BYTES // 2, BATCH_BYTES // 2, 1, BATCH_BYTES * 2, 1, 1, 1):
        came.put(whole, size)
    assert came.enough(100)
    assert [len(came.take(2)) for _ in range(6)] == [2, 1, 1, 2, 1, 0]
    assert not came.enough(1)
    assert len(came) == 0


def test_large_messages_are_asked_for_by_few() -> None:
    came, whole = Coming(), read(Reading())
    assert came.likely(500) == 500
    for _ in range(100):
        came.put(whole, BATCH_BYTES // 8)
    assert came.likely(500) == 8
    for _ in range(100):
        came.put(whole, BATCH_BYTES * 2)
    assert came.likely(500) == 1
