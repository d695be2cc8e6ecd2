"""Messages by HTTP POST: who may send, what is taken, what is answered."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings

from kck_flow.codec import JSON
from kck_flow.conf import conf
from kck_flow.models import Outbox
from kck_flow.sources import make
from tests.harness.daemons import free_port
from tests.harness.processes import Crew
from tests.harness.proxy import Proxy
from tests.sources.urls import OLD, SECRET, SOURCES, TOKEN

pytestmark = pytest.mark.django_db

CONFIGURED = {
    **SOURCES,
    "queue": {"source": "kck_flow.sources.amqp.AMQP", "url": "amqp://x/", "queue": "q"},
}


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    with override_settings(
        KCK_FLOW={"SOURCES": CONFIGURED},
        ROOT_URLCONF="tests.sources.urls",
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    ):
        yield


def post(
    sent: Any = None,
    *,
    to: str = "web",
    raw: bytes | None = None,
    token: str | None = TOKEN,
    kind: str = "application/json",
    **headers: str,
) -> HttpResponse:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        given = {"Authorization": f"Bearer {token}", **given}
    data = json.dumps(sent).encode() if raw is None else raw
    client = Client(enforce_csrf_checks=True)
    return client.post(f"/messages/{to}/", data, content_type=kind, headers=given)


def signed(raw: bytes, *, secret: str = SECRET, stamp: float | None = None, **kwargs: Any) -> HttpResponse:
    at = str(int(time.time() if stamp is None else stamp))
    told = hmac.new(secret.encode(), f"{at}.".encode() + raw, hashlib.sha256).hexdigest()
    headers = {"X_Timestamp": at, "X_Signature": f"sha256={told}", **kwargs}
    return post(raw=raw, token=None, **headers)


def order(number: int, **more: Any) -> dict[str, Any]:
    return {"topic": "orders.paid", "body": {"n": number}, "id": f"o{number}", **more}


def refused(answer: HttpResponse, status: int, told: str) -> None:
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(answer.content)
    assert problem["status"] == status
    assert set(problem) == {"type", "title", "status", "detail"}
    assert told in problem["detail"]
    assert not Outbox.objects.exists()


def told(answer: HttpResponse) -> tuple[int, int, int]:
    assert answer.status_code == 202, answer.content
    found = json.loads(answer.content)
    return found["new"], found["known"], found["refused"]


def test_a_message_a_list_and_lines_are_taken_once() -> None:
    assert told(post(order(1))) == (1, 0, 0)
    assert told(post([order(1), order(2), order(3)])) == (2, 1, 0)
    lines = b"\n".join(json.dumps(order(number)).encode() for number in (3, 4)) + b"\n\n"
    assert told(post(raw=lines, kind="application/x-ndjson; charset=utf-8")) == (1, 1, 0)
    assert told(post([])) == (0, 0, 0)
    assert list(Outbox.objects.order_by("id").values_list("source", "topic", "message_id")) == [
        ("web", "orders.paid", f"o{number}") for number in (1, 2, 3, 4)
    ]


def test_all_that_a_message_says_is_in_the_log() -> None:
    body = {"text": "日本語 \U0001f980", "big": 10**30, "none": None}
    answer = post(order(1, body=body, at="2026-03-01T10:00:00+01:00", key=7, headers={"trace": "x"}))
    assert told(answer) == (1, 0, 0)
    (row,) = Outbox.objects.all()
    assert (JSON.decode(json.dumps(row.body)), row.at, row.partition_key, row.headers) == (
        body,
        datetime(2026, 3, 1, 9, tzinfo=UTC),
        "7",
        {"trace": "x"},
    )


def test_either_of_two_tokens_will_do() -> None:
    assert told(post(order(1), token=OLD)) == (1, 0, 0)


@pytest.mark.parametrize("token", [None, "", "another", TOKEN[:-1], TOKEN + "x", SECRET, "ü"])
def test_whoever_shows_no_right_token_is_refused(token: str | None) -> None:
    answer = post(order(1), token=token)
    refused(answer, 401, "Show a token")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_other_ways_to_authorize_are_none() -> None:
    refused(post(order(1), token=None, Authorization="Basic eDp5"), 401, "Show a token")


def test_whoever_signs_may_send() -> None:
    raw = json.dumps({"topic": "payments", "body": 1}).encode()
    assert told(signed(raw)) == (1, 0, 0)


def test_the_very_same_signed_request_counts_once() -> None:
    raw = json.dumps([{"topic": "payments", "body": 1}] * 2).encode()
    now = time.time()
    assert told(signed(raw, stamp=now)) == (2, 0, 0)
    assert told(signed(raw, stamp=now)) == (0, 2, 0)
    assert told(signed(raw, stamp=now - 1)) == (2, 0, 0)


def test_a_wrong_signature_is_refused() -> None:
    raw = json.dumps({"topic": "payments", "body": 1}).encode()
    refused(signed(raw, secret="another secret of the bank"), 401, "Show a token")
    refused(signed(raw, secret=TOKEN), 401, "Show a token")  # a token signs nothing
    refused(signed(raw, X_Signature="sha256="), 401, "Show a token")
    refused(signed(raw, X_Signature="ü"), 401, "Show a token")
    refused(signed(raw + b" ", X_Signature=_signature(raw)), 401, "Show a token")


def _signature(raw: bytes) -> str:
    stamp = f"{int(time.time())}.".encode()
    return "sha256=" + hmac.new(SECRET.encode(), stamp + raw, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("off", [-3600, 3600])
def test_an_old_signature_is_refused(off: int) -> None:
    refused(signed(b"{}", stamp=time.time() + off), 401, "X-Timestamp")


@pytest.mark.parametrize("stamp", ["", "now", "-1", "1e9", "٣", "9" * 5000])
def test_a_timestamp_that_is_none_is_refused(stamp: str) -> None:
    refused(signed(b"{}", X_Timestamp=stamp), 401, "X-Timestamp")


def test_a_sender_sends_to_its_own_topics_only_and_all_or_nothing() -> None:
    refused(post([order(1), order(2, topic="payments")]), 403, "Message 1: the sender 'tills' may not send")
    raw = json.dumps(order(1)).encode()
    refused(signed(raw), 403, "the sender 'bank' may not send to the topic 'orders.paid'")


@pytest.mark.parametrize("to", ["nowhere", "queue"])
def test_what_is_no_such_source_is_not_found(to: str) -> None:
    refused(post(order(1), to=to), 404, f"{to!r}")


def test_messages_are_posted() -> None:
    answer = Client().get("/messages/web/", headers={"Authorization": f"Bearer {TOKEN}"})
    refused(answer, 405, "by POST")
    assert answer.headers["Allow"] == "POST"


def test_a_request_has_its_limits() -> None:
    refused(post([order(number) for number in range(6)]), 413, "5 messages, not 6")
    refused(post(order(1, body="x" * 2000)), 413, "2,000 bytes")
    lines = b"\n".join(json.dumps(order(number)).encode() for number in range(6))
    refused(post(raw=lines, kind="application/x-ndjson"), 413, "5 messages, not 6")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_is_no_json_by_its_type_is_refused(kind: str) -> None:
    refused(post(order(1), kind=kind), 415, "application/json")


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"NaN", b'{"topic": "orders.x", "body": 1e999}', b"[" * 1500])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    refused(post(raw=raw), 400, "no JSON that could be kept")


def test_a_line_that_is_no_json_is_named() -> None:
    refused(post(raw=b'{"topic": "orders.x", "body": 1}\n{', kind="application/x-ndjson"), 400, "Line 1")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (7, "must be an object"),
        ({"topic": "orders.x"}, "must be an object with 'topic' and 'body'"),
        (order(1, extra=1), "of the rest only"),
        (order(1, topic=""), "the topic must be a text"),
        (order(1, topic=7), "the topic must be a text"),
        (order(1, topic="orders." + "x" * 500), "the topic must be a text"),
        (order(1, at="2026-03-01T10:00:00"), "must have an offset"),
        (order(1, at="soon"), "ISO 8601"),
        (order(1, at=7), "ISO 8601"),
        (order(1, id=[]), "'id' must be a text"),
        (order(1, key=True), "'key' must be a text"),
        (order(1, headers=[1]), "'headers' must be an object"),
    ],
)
def test_a_message_that_is_none_is_named_and_nothing_is_kept(given: Any, what: str) -> None:
    refused(post([order(0), given]), 422, "Message 1: ")
    assert what in json.loads(post([order(0), given]).content)["detail"]


def test_with_a_topic_in_the_address_the_whole_json_is_a_body() -> None:
    sent = {"event": {"id": 5, "at": 1772355600}, "repository": "r"}
    assert told(post(sent, to="hooks/push")) == (1, 0, 0)
    assert told(post(sent, to="hooks/push")) == (0, 1, 0)
    assert told(post([1, 2], to="hooks/pairs")) == (1, 0, 0)
    assert told(post(raw=b"1\n2\n", kind="application/x-ndjson", to="hooks/lines")) == (2, 0, 0)
    rows = list(Outbox.objects.order_by("id"))
    assert [(row.topic, row.body) for row in rows] == [
        ("push", sent),
        ("pairs", [1, 2]),
        ("lines", 1),
        ("lines", 2),
    ]
    assert (rows[0].message_id, rows[0].partition_key, rows[0].at) == (
        "5",
        "r",
        datetime(2026, 3, 1, 9, tzinfo=UTC),
    )


def test_a_text_in_the_address_topic_stays_the_text_that_it_is() -> None:
    assert told(post("[1]", to="hooks/texts")) == (1, 0, 0)
    assert Outbox.objects.get().body == "[1]"


def test_without_an_id_twice_is_twice_unless_the_request_has_one() -> None:
    sent = {"topic": "orders.x", "body": 1}
    assert told(post(sent)) == (1, 0, 0)
    assert told(post(sent)) == (1, 0, 0)
    for wanted in ((2, 0, 0), (0, 2, 0)):
        assert told(post([sent, sent], Idempotency_Key="k1")) == wanted
    assert told(post([sent, sent], Idempotency_Key="k2")) == (2, 0, 0)


def test_odd_texts_are_kept() -> None:
    body = {"\u0000": "\u0000", "$dec": 1}
    answer = post(
        raw=json.dumps(order(1, body=body, id="a\u0000b", key="\ud800", topic="orders.\u0000")).encode()
    )
    assert told(answer) == (1, 0, 0)


@pytest.mark.parametrize(
    ("senders", "wrong"),
    [
        ({"x": {"topics": ["*"]}}, "either a 'token' or a 'secret'"),
        ({"x": {"token": TOKEN, "secret": SECRET, "topics": ["*"]}}, "either a 'token' or a 'secret'"),
        ({"x": {"token": "short", "topics": ["*"]}}, "at least 16 characters"),
        ({"x": {"token": [], "topics": ["*"]}}, "at least 16 characters"),
        ({"x": {"token": TOKEN}}, "has no topics"),
        ({"x": {"token": TOKEN, "topics": "*"}}, "must be a list of texts"),
    ],
)
def test_a_door_that_would_stand_open_is_refused(senders: dict, wrong: str) -> None:
    from kck_flow.errors import DeclarationError

    given = {"web": {"source": "kck_flow.sources.http.HTTP", "senders": senders}}
    with override_settings(KCK_FLOW={"SOURCES": given}), pytest.raises(DeclarationError, match=wrong):
        make("web")


def test_what_the_log_does_not_remember_any_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr("kck_flow.store.outbox.pruned_before", lambda session: now - timedelta(days=1))
    old = (now - timedelta(days=2)).isoformat()
    assert told(post([order(1, at=old), order(2, at=now.isoformat()), order(3)])) == (2, 0, 1)


@pytest.mark.django_db(transaction=True)
def test_many_send_at_once_and_each_message_is_kept_once(crew: Crew) -> None:
    port = free_port()
    server = crew.manage(
        *("runserver", f"127.0.0.1:{port}", "--noreload"),
        env={"DJANGO_SETTINGS_MODULE": "tests.sources.settings"},
    )
    server.wait_for("Quit the server")
    children = [crew.spawn(send_all, port, 40) for _ in range(3)]
    assert sum(child.result() for child in children) == 40
    assert Outbox.objects.filter(source="web").count() == 40


def send_all(port: int, count: int) -> int:
    """Send the same messages as the others; return how many were new."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    new = 0
    for number in range(count):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", "/messages/web/", json.dumps(order(number)), headers)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == 202, said
        new += json.loads(said)["new"]
    return new


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_gone_is_told_and_nothing_was_acknowledged(crew: Crew, proxy: Proxy) -> None:
    port = free_port()
    env = {"DJANGO_SETTINGS_MODULE": "tests.sources.settings", "DATABASE_URL": proxy.url}
    server = crew.manage("runserver", f"127.0.0.1:{port}", "--noreload", env=env)
    server.wait_for("Quit the server")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    def sent() -> tuple[int, str | None]:
        connection.request("POST", "/messages/web/", json.dumps(order(1)), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["Content-Type"]

    proxy.refuse()
    assert sent() == (503, "application/problem+json")
    assert not Outbox.objects.exists()
    proxy.heal()
    assert sent()[0] == 202
    assert Outbox.objects.count() == 1


def test_the_settings_are_read_anew_where_they_change() -> None:
    assert told(post(order(1))) == (1, 0, 0)
    Outbox.objects.all().delete()
    with override_settings(KCK_FLOW={"SOURCES": {"web": {**SOURCES["web"], "most_bytes": 10}}}):
        assert conf.SOURCES["web"]["most_bytes"] == 10
        refused(post(order(2)), 413, "10 bytes")
