"""``kck consume`` brings messages from what ``KCK_FLOW["SOURCES"]`` names, and ends as it should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from kck_flow import Cache, Message
from kck_flow.models import Cursor, Outbox
from kck_flow.store import outbox
from kck_flow.store.session import caller
from kck_flow.streams import log
from kck_flow.streams.consuming import Consumer, Options
from kck_flow.testing import registered
from tests.harness.wait import until
from tests.topics import primers
from tests.topics.lines import Lines

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


def env(path: Path) -> dict[str, str]:
    flow = {
        "FLUSH_INTERVAL": 0.05,
        "SOURCES": {"lines": {"source": "tests.topics.lines.Lines", "path": str(path)}},
    }
    return {"DJANGO_SETTINGS_MODULE": "tests.topics.settings", "KCK_TEST_FLOW": json.dumps(flow)}


def lines(path: Path, first: int, last: int) -> None:
    with path.open("a") as file:
        for n in range(first, last):
            file.write(json.dumps({"id": f"l{n}", "at": T0.isoformat(), "body": {"n": n, "k": 0}}) + "\n")


def test_a_source_is_read_on_from_where_it_was(crew: Any, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines(path, 0, 50)
    first = crew.manage("kck", "consume", "--topics", "sums", env=env(path))
    first.wait_for("sources lines")
    until(lambda: Outbox.objects.count() == 50, "50 lines to be brought")
    first.kill()
    lines(path, 50, 80)
    last = crew.manage("kck", "consume", "--once", env=env(path))
    assert last.wait(limit=60) == 0, last.output
    with registered(primers.Sums):
        assert Cache.get_instance().get("sums/1h/2026-03-01T10") == sum(range(80))
    assert Cursor.objects.get(reader="source:lines").position == 80


def test_a_source_that_is_not_there_is_tried_again(crew: Any, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    consumer = crew.manage("kck", "consume", env=env(path))
    consumer.wait_for("source.lost")
    until(lambda: "No such file" in Cursor.objects.get(reader="source:lines").error, "its error to be kept")
    lines(path, 0, 5)
    until(lambda: Outbox.objects.count() == 5, "5 lines to be brought")
    assert consumer.stop() == 0, consumer.output


def test_once_says_which_source_could_not_be_read(settings: Any, tmp_path: Path, capsys: Any) -> None:
    source = {"source": "tests.topics.lines.Lines"}
    there, gone = tmp_path / "there", tmp_path / "gone"
    lines(there, 0, 5)
    flow = {"FLUSH_INTERVAL": 0.01}
    with registered(primers.Sums):
        settings.KCK_FLOW = {**flow, "SOURCES": {"gone": {**source, "path": str(gone)}}}
        with pytest.raises(CommandError, match="The source 'gone' could not be read: FileNotFoundError"):
            call_command("kck", "consume", "--once")
        settings.KCK_FLOW["SOURCES"]["there"] = {**source, "path": str(there)}
        with pytest.raises(SystemExit) as ended:
            call_command("kck", "consume", "--once")
        assert ended.value.code == 3
        assert "The source 'gone' could not be read: FileNotFoundError" in capsys.readouterr().err
        assert Cache.get_instance().get("sums/1h/2026-03-01T10") == sum(range(5))
        lines(gone, 5, 8)
        call_command("kck", "consume", "--once")
        assert Cache.get_instance().get("sums/1h/2026-03-01T10") == sum(range(8))


def test_once_handles_what_had_its_number_before_it_was_there(tmp_path: Path) -> None:
    lines(tmp_path / "lines", 0, 5)

    class Numbered(Lines):
        """Its messages have their numbers, as far as anybody can see, before they are there."""

        def fetch(self, most: int, timeout: float) -> Sequence[Message]:
            if self.place:
                return super().fetch(most, timeout)
            last = outbox.last(caller("default"))
            number(last + 5)
            until(lambda: consumer._quiet.get("sums", (0,))[0] == last + 5, "a topic that has looked in vain")
            number(last)
            return super().fetch(most, timeout)

    def number(last: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT setval('kck_outbox_id_seq', %s)", [last])

    with registered(primers.Sums):
        log.send("numbers", {"n": 0, "k": 0}, id="first", at=T0)
        sources = [("numbered", lambda: Numbered(str(tmp_path / "lines")))]
        consumer = Consumer(Options(topics=["sums"], sources=sources, once=True))
        consumer.serve()
        assert consumer.messages == 6
        assert Cache.get_instance().get("sums/1h/2026-03-01T10") == sum(range(5))


def test_what_is_asked_wrongly_is_told(settings: Any) -> None:
    settings.KCK_FLOW = {"SOURCES": {"lines": {"source": "tests.topics.lines.Lines", "path": "x"}}}
    with registered(primers.Sums):
        with pytest.raises(CommandError, match="There is no source 'line' to fetch from"):
            call_command("kck", "consume", "--once", "--sources", "line")
        with pytest.raises(CommandError, match="exclude each other"):
            call_command("kck", "consume", "--once", "--sources", "lines", "--no-sources")
    with pytest.raises(CommandError, match="is no topic"):
        call_command("kck", "rewind", "book_count")
