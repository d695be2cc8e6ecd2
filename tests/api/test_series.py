"""What a product was over time, page by page."""

from __future__ import annotations

import csv
import io
import tracemalloc
from datetime import timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client

from kck_flow import MessageStream, TimeFrame, Topic
from kck_flow.registry import registry
from kck_flow.streams import topics
from kck_flow.testing import freeze_time, registered

from .conftest import NOW, ROOT, body_of

pytestmark = pytest.mark.django_db


def record(count: int, start: int = 0, key: str = "a_kept", days: int = 3) -> None:
    """Have a product hold a number a minute: ``start``, ``start + 1`` …"""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO kck_record (digest, key, key_base, start_at, value, version, written_at)"
            " SELECT %s, %s, %s, %s + n * interval '1 minute', to_jsonb(n), n + 1, clock_timestamp()"
            " FROM generate_series(%s::int, %s::int) n",
            [registry.key(key).digest, key, key, NOW - timedelta(days=days), start, start + count - 1],
        )


def walk(client: Client, address: str, while_walking: Any = None) -> list[dict[str, Any]]:
    """Follow ``Link: rel=next`` to the end; every link keeps what was asked for."""
    asked = parse_qs(urlsplit(address).query)
    rows: list[dict[str, Any]] = []
    while address:
        response = client.get(address)
        assert response.status_code == 200, response.content
        told = response.json()
        rows += told["rows"]
        link = response.headers.get("Link")
        assert (link is None) == (told["next"] is None)
        address = ""
        if link is not None:
            address, rel = link.split(">; ")
            assert rel == 'rel="next"'
            address = address.removeprefix("<")
            kept = parse_qs(urlsplit(address).query)
            assert {name: kept[name] for name in asked} == asked
            assert kept["next"] == [told["next"]]
        if while_walking is not None:
            while_walking()
    return rows


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_walk_sees_each_row_once_while_rows_are_added(
    api: Any, client: Client, staff: Any, order: str
) -> None:
    with freeze_time(NOW):
        record(250)
        added = iter(range(250, 10_000, 3))

        def arrive() -> None:
            for _one in range(2):
                record(1, start=next(added))
            record(1, start=-next(added))

        found = walk(client, f"{ROOT}/products/a_kept.json?limit=17&order={order}", arrive)
    values = [one["value"] for one in found]
    assert values == (list(range(250)) if order == "asc" else list(range(249, -1, -1)))


def test_a_record_holds_until_the_next(api: Any, client: Client, staff: Any) -> None:
    with freeze_time(NOW):
        record(5)
        for order in ("asc", "desc"):
            rows = walk(client, f"{ROOT}/products/a_kept.json?limit=2&order={order}")
            by_value = {one["value"]: one for one in rows}
            assert len(rows) == 5
            for number in range(4):
                assert by_value[number]["end"] == by_value[number + 1]["start"]
                assert by_value[number]["complete"] is True
            assert (by_value[4]["end"], by_value[4]["complete"]) == (None, False)
        two = by_value[2]["start"].replace("+", "%2B")
        found = client.get(f"{ROOT}/products/a_kept.json?to={two}&order=desc&limit=1").json()["rows"]
        assert [one["value"] for one in found] == [1]
        assert found[0]["end"] == by_value[2]["start"]


def test_a_correction_counts_instead_of_what_it_corrects(api: Any, client: Client, staff: Any) -> None:
    with freeze_time(NOW):
        record(3)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO kck_record (digest, key, key_base, start_at, value, revision, written_at)"
                " SELECT digest, key, key_base, start_at, '77', 2, written_at FROM kck_record WHERE value = '1'"
            )
        assert [one["value"] for one in walk(client, f"{ROOT}/products/a_kept.json?limit=1")] == [0, 77, 2]


def test_from_and_to_are_instants_or_days_of_the_zone(api: Any, client: Client, staff: Any) -> None:
    with freeze_time(NOW):
        record(10)
        first = NOW - timedelta(days=3)
        at = (first + timedelta(minutes=4)).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows = client.get(f"{ROOT}/products/a_kept.json?from={at}").json()["rows"]
        assert [one["value"] for one in rows] == [4, 5, 6, 7, 8, 9]
        told = client.get(f"{ROOT}/products/a_kept.json?from={at}&to={at}")
        assert told.status_code == 400
        assert told.json()["parameter"] == "from"
        rows = client.get(
            f"{ROOT}/products/a_kept.json?from={first:%Y-%m-%d}&to={first:%Y-%m-%d}&tz=UTC&limit=3"
        ).json()
        assert [one["value"] for one in rows["rows"]] == [0, 1, 2]
        assert rows["meta"]["zone"] == "UTC"
        assert rows["rows"][0]["start"].endswith("+00:00")


def test_a_metric_is_walked_in_its_periods(
    history: Any, api_of_history: Any, client: Client, staff: Any
) -> None:
    all_of_it = walk(client, f"{ROOT}/products/p_signups.json?range=30d")
    assert len(all_of_it) == 30
    paged = walk(client, f"{ROOT}/products/p_signups.json?range=30d&limit=7")
    assert paged == all_of_it
    back = walk(client, f"{ROOT}/products/p_signups.json?range=30d&limit=7&order=desc")
    assert back == all_of_it[::-1]
    assert [one["complete"] for one in all_of_it] == [True] * 29 + [False]
    over = walk(client, f"{ROOT}/products/p_signups.json?range=30d&limit=7&complete=1")
    assert over == all_of_it[:-1]
    weeks = walk(client, f"{ROOT}/products/p_signups.json?range=30d&by=week&limit=2")
    assert sum(one["value"] or 0 for one in weeks) >= sum(one["value"] or 0 for one in all_of_it)


class Said(TimeFrame):
    """What was said in an hour."""

    key_base, windows = "a_said", ["1h", "1d"]
    stream = MessageStream("a_words.*", watermark="latest")

    def compute(self, key: Any, items: Any) -> int:
        return len(items)

    def merge(self, key: Any, parts: Any) -> int:
        return sum(part.value for part in parts)


class Words(Topic):
    """How many words, by the minute."""

    key_base, topics, windows = "a_words", ["a_words"], ["1m", "1h"]

    def process(self, state: Any, message: Any) -> Any:
        return (state or 0) + 1


@pytest.mark.parametrize(
    "asked",
    [
        "a_said.json?range=24h",
        "a_said.json?range=7d&by=1d",
        "a_words.json?from=2026-03-10T15:00:00Z",
        "a_words.json?range=24h&by=1h",
        "a_open.json?range=24h&by=hour",
        "a_open.json?range=12m&by=month",
        "signing_up.json?range=24h",
        "signing_up.json?range=14d&by=day",
        "a_kept.json?range=90d&by=week",
        "p_signups.json?range=12m&by=month&tz=Europe/Paris",
    ],
)
def test_a_walk_in_pages_is_the_whole(api: Any, client: Client, staff: Any, asked: str) -> None:
    with registered(Said, Words), freeze_time(NOW):
        topics.drain(["a_words"])
        address = f"{ROOT}/products/{asked}"
        whole = walk(client, f"{address}&limit=10000")
        assert len(whole) >= 5
        own = asked.partition(".")[0]
        if own == "a_said":  # by a key, too, that has been read already
            assert len(api.series(registry.key(own), NOW - timedelta(days=1), NOW)) >= 23
        assert [one["start"] for one in whole] == sorted({one["start"] for one in whole})
        assert all(one["end"] == two["start"] for one, two in pairwise(whole))
        assert walk(client, f"{address}&limit=3") == whole
        assert walk(client, f"{address}&limit=3&order=desc") == whole[::-1]
        assert len(body_of(client.get(address.replace(".json", ".csv"))).splitlines()) == len(whole) + 1


def test_the_last_points_feed_a_line_chart(
    history: Any, api_of_history: Any, client: Client, staff: Any
) -> None:
    told = client.get(f"{ROOT}/products/p_signups.json?order=desc&limit=5&complete=1").json()
    assert [one["start"][:10] for one in told["rows"]] == [f"2026-03-{day:02}" for day in (9, 8, 7, 6)]


def test_steps_of_what_keeps_its_history(api: Any, client: Client, staff: Any) -> None:
    with freeze_time(NOW):
        record(150)
        rows = walk(client, f"{ROOT}/products/a_kept.json?by=hour&range=3d&limit=10")
        assert len(rows) == len({one["start"] for one in rows}) > 60
        assert rows[-1]["value"] == 149


def test_what_has_no_history_says_so(api: Any, client: Client) -> None:
    told = client.get(f"{ROOT}/products/a_plain.json?limit=5")
    assert told.status_code == 404
    assert "keep_history" in told.json()["detail"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("limit=٣", "limit"),
        ("order=up", "order"),
        ("next=abc", "next"), ("next=W10", "next"), ("next=%00", "next"), ("by=fortnight", "by"), ("by=days", "by"),
        ("from=yesterday", "from"), ("tz=Mars/Base", "tz"), ("complete=maybe", "complete"), ("range=9y", "range"),
        ("ordre=asc", "ordre"),
        ("limit=3&dl=perhaps", "dl"),
        ("limit=3&bom=x", "bom"),
        ("limit=3&shape=round", "shape"),
        ("limit=3&extra=all", "extra"), ("limit=3&width=1", "width"), ("limit=3&theme=pink", "theme"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(api: Any, client: Client, staff: Any, query: str, parameter: str) -> None:
    told = client.get(f"{ROOT}/products/a_kept.json?{query}")
    assert told.status_code == 400
    assert told.headers["Content-Type"] == "application/problem+json"
    assert told.json()["parameter"] == parameter
    if parameter == "ordre":
        assert "Did you mean 'order'?" in told.json()["detail"]


def test_a_page_of_another_walk_is_refused(api: Any, client: Client, staff: Any) -> None:
    with freeze_time(NOW):
        record(5)
        token = client.get(f"{ROOT}/products/a_kept.json?limit=2").json()["next"]
        told = client.get(f"{ROOT}/products/a_kept.json?limit=2&order=desc&next={token}")
        assert told.status_code == 400
        assert told.json()["parameter"] == "next"


def test_a_csv_that_was_cut_says_so(api: Any, client: Client, staff: Any) -> None:
    with freeze_time(NOW):
        record(5)
        cut = body_of(client.get(f"{ROOT}/products/a_kept.csv?limit=2")).splitlines()
        assert len(cut) == 4
        assert cut[-1].startswith("# cut")
        whole = body_of(client.get(f"{ROOT}/products/a_kept.csv?order=asc")).splitlines()
        assert len(whole) == 6
        assert whole[0] == "start,end,value,complete"


def test_a_csv_is_streamed_in_little_memory(api: Any, client: Client, staff: Any) -> None:
    with freeze_time(NOW):
        record(40_000, days=40)
        first = body_of(client.get(f"{ROOT}/products/a_kept.csv?limit=1"))
        assert first
        response = client.get(f"{ROOT}/products/a_kept.csv?from=2020-01-01")
        tracemalloc.start()
        lines = bytes_ = 0
        for line in response.streaming_content:
            lines += line.count(b"\r\n")
            bytes_ += len(line)
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kck_record WHERE key = 'a_kept' AND start_at < %s", [NOW])
        assert lines == cursor.fetchone()[0] + 1
    assert peak < 5_000_000 < bytes_ * 20


def test_a_csv_that_breaks_off_says_so(
    api: Any, client: Client, staff: Any, monkeypatch: Any, caplog: Any
) -> None:
    from kck_flow.api import series

    with freeze_time(NOW):
        record(5)
        response = client.get(f"{ROOT}/products/a_kept.csv?from=2020-01-01")
        monkeypatch.setattr(series, "_recorded", lambda *_: 1 / 0)
        text = body_of(response)
    assert list(csv.reader(io.StringIO(text)))[-1][0].startswith("# cut: broken off")
    assert "page.broken_off" in caplog.text
