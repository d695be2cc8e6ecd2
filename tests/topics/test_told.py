"""What the commands and the checks tell of topics."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command

from kck_flow import Cache, Message, On, Topic, every
from kck_flow.models import Held, Outbox
from kck_flow.streams import topics
from kck_flow.streams.log import send, send_many
from kck_flow.testing import registered

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


class Told(Topic):
    """Some messages."""

    key_base = "told_of"
    topics = ["m"]
    window = "1h"
    retries = 0

    def process(self, state: Any, message: Message) -> Any:
        return state + message.body


def told(capsys: Any, *arguments: str) -> str:
    capsys.readouterr()
    call_command("kck", *arguments)
    return str(capsys.readouterr().out)


def test_status_explain_and_retry_tell_of_messages(capsys: Any) -> None:
    with registered(Told) as (topic,):
        assert "not begun: kck consume" in told(capsys, "status")
        assert "has not begun to read messages" in told(capsys, "explain", "told_of/2026-03-01T10")
        send_many([Message("m", "x" if n == 3 else 1, f"m{n}", T0) for n in range(10)])
        assert isinstance(topic, Topic)
        topics.begin(topic)
        assert topics.lag(topic).messages == 10
        topics.drain()
        behind = topics.lag(topic)
        assert (behind.messages, behind.handled, behind.parked, behind.error) == (0, 10, 1, "")
        status = json.loads(told(capsys, "status", "--format", "json"))
        assert [(one["topic"], one["handled"], one["parked"]) for one in status["topics"]] == [
            ("told_of", 10, 1)
        ]
        assert "told_of" in told(capsys, "status")
        text = told(capsys, "explain", "told_of/2026-03-01T10")
        assert "10 handled, all up to " in text
        assert "1 parked" in text
        assert "fresh" in told(capsys, "explain", "told_of/2026-03-01T09")
        Held.objects.update(body=1)
        assert "1 parked message will be handled again" in told(
            capsys, "retry", "--parked", "--product", "told_of"
        )
        topics.drain()
        assert Cache.get_instance().get("told_of/2026-03-01T10") == 10


def test_check_says_how_far_a_topic_is_behind(capsys: Any) -> None:
    with registered(Told):
        topics.drain()
        assert json.loads(told(capsys, "check", "--lag", "told_of", "--format", "json"))[0]["messages"] == 0
        send("m", 1, at=T0)
        assert json.loads(told(capsys, "check", "--lag", "told_of", "--format", "json"))[0]["messages"] == 1
        with pytest.raises(SystemExit) as ended:
            call_command("kck", "check", "--lag", "told_of", "--at-most", "0s")
        assert ended.value.code == 1
        topics.drain()
        call_command("kck", "check", "--lag", "told_of", "--at-most", "0s")


def test_rewind_and_consume_once(capsys: Any) -> None:
    with registered(Told):
        send("m", 5, at=T0)
        call_command("kck", "consume", "--once", "--topics", "told_of")
        assert "1 messages handled" in capsys.readouterr().err
        assert Cache.get_instance().get("told_of/2026-03-01T10") == 5
        assert "reads again from 2026-03-01T10:00:00+00:00" in told(
            capsys, "rewind", "told_of", "--to", "2026-03-01T10:59:00Z"
        )
        assert Cache.get_instance().get("told_of/2026-03-01T10") == 0
        call_command("kck", "consume", "--once", "--topics", "told_of")
        assert Cache.get_instance().get("told_of/2026-03-01T10") == 5
        with pytest.raises(CommandError, match="say from when on"):
            call_command("kck", "rewind", "told_of")
        with pytest.raises(CommandError, match=r"No primer is named .told_off.\. Did you mean .told_of."):
            call_command("kck", "consume", "--once", "--topics", "told_off")
        send("m", "x", at=T0)
        with pytest.raises(SystemExit) as ended:
            call_command("kck", "consume", "--once", "--topics", "told_of")
        assert ended.value.code == 3


def test_a_paused_topic_takes_nothing(capsys: Any) -> None:
    cache = Cache.get_instance()
    with registered(Told):
        topics.drain()
        cache.pause("told_of")
        send("m", 5, at=T0)
        assert topics.drain() == 0
        call_command("kck", "consume", "--once", "--topics", "told_of")
        assert cache.get("told_of/2026-03-01T10") == 0
        cache.resume("told_of")
        assert topics.drain() == 1


def test_what_is_declared_wrongly_is_told() -> None:
    wrong = {
        "scheduled": {"schedule": every(minutes=1)},
        "computed": {"compute": lambda self, key: 1},
        "crooked": {"process": lambda self, message: 1},
        "lately": {"lateness": 5},
        "depending": {"depends_on": [On("told_of")]},
    }
    classes = [type(name, (Topic,), {"key_base": f"wrong_{name}", **more}) for name, more in wrong.items()]
    with registered(Told, *classes):
        told = {
            message.obj: message.msg for message in run_checks(tags=["kck"]) if message.id == "kck_flow.E014"
        }
    assert len(told) == 5, told
    assert any("process cannot be called as process(self, state, message)" in text for text in told.values())
    with (
        pytest.raises(Exception, match="15x"),
        registered(type("W", (Topic,), {"key_base": "w", "window": "15x"})),
    ):
        pass


def test_late_messages_are_in_their_window_and_counted(capsys: Any) -> None:
    now = datetime.now(UTC)
    with registered(Told) as (topic,):
        assert isinstance(topic, Topic)
        topics.drain()
        send("m", 1, at=now)
        send("m", 1, at=now - timedelta(hours=3))
        topics.drain()
        assert topics.lag(topic).late == 1
        assert Outbox.objects.count() == 2
