"""dump and load: what is carried out comes back as it was, and half a file is refused."""

from __future__ import annotations

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from kck_flow import Cache
from kck_flow.registry import registry
from kck_flow.testing import freeze_time
from tests.commands.conftest import kck
from tests.shop.models import Order

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bakery")]

TABLES = ("kck_product", "kck_record", "kck_edge", "kck_refresh", "kck_pending")


def flush() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM kck_product; DELETE FROM kck_record; DELETE FROM kck_edge; DELETE FROM kck_refresh"
        )


def rows(table: str, *without: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT to_jsonb(t) FROM {table} t ORDER BY to_jsonb(t)::text")
        found = [row[0] if isinstance(row[0], dict) else json.loads(row[0]) for row in cursor.fetchall()]
    return [{name: value for name, value in row.items() if name not in {"id", *without}} for row in found]


@pytest.fixture
def stored(customers: list[int]) -> dict[str, Any]:
    """Products of every kind: set, computed, with history, with edges, odd and None values."""
    cache = Cache.get_instance()
    cache.set(
        "any/odd", {"sum": Decimal("1.10"), "day": date(2026, 1, 31), "set": {1, 2}, "z": 1, "a": 1e300}
    )
    cache.set("any/none", None)
    cache.set("any/huge", 10**40)
    cache.get("best")
    cache.get("opening")
    cache.set("opening", {"from": "07:00", "to": "12:00"})
    return {row["key"]: row for row in kck("keys", "--format", "json").rows}


def test_a_dump_loaded_into_an_empty_store_restores_everything(
    stored: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "products.jsonl"
    before = [rows("kck_product", "epoch", "pending_seen"), rows("kck_record"), rows("kck_edge")]
    assert before[1]
    assert before[2]
    said = kck("dump", path)
    assert said.code == 0
    assert said.out == ""
    assert f"kck load {path}" in said.err
    flush()
    assert kck("load", path).code == 0
    assert [rows("kck_product", "epoch", "pending_seen"), rows("kck_record"), rows("kck_edge")] == before
    assert Cache.get_instance().get("any/odd") == {
        "sum": Decimal("1.10"), "day": date(2026, 1, 31), "set": {1, 2}, "z": 1, "a": 1e300,
    }  # fmt: skip
    assert Cache.get_instance().get_entry("opening").version == 2
    # Again changes nothing.
    again = kck("load", path)
    assert "loaded 0 products, 0 records, 0 edges; left" in again.err


def test_a_dump_is_lines_of_json_and_may_be_compressed_or_printed(
    stored: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "products.jsonl.gz"
    kck("dump", path)
    with gzip.open(path, "rt") as lines:
        found = [json.loads(line) for line in lines]
    assert found[0]["kck_flow_dump"] == 1
    assert found[-1]["t"] == "end"
    assert {line["key"] for line in found if line.get("t") == "product"} == set(stored)
    printed = kck("dump", "-").out.splitlines()
    assert len(printed) == len(found)
    flush()
    kck("load", path)
    assert {row["key"] for row in kck("keys", "--format", "json").rows} == set(stored)


def test_one_family_is_dumped_alone(stored: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    kck("dump", path, "--product", "any")
    keys = {json.loads(line).get("key") for line in path.read_text().splitlines()[1:-1]}
    assert keys == {"any/odd", "any/none", "any/huge"}


def test_what_is_newer_stays_unless_told_otherwise(tmp_path: Path) -> None:
    path, cache = tmp_path / "dump", Cache.get_instance()
    cache.set("any/1", "old")
    kck("dump", path)
    cache.set("any/1", "new")
    said = kck("load", path)
    assert "left 1 that are as new or newer" in said.err
    assert cache.get("any/1") == "new"
    kck("load", path, "--overwrite")
    entry = cache.get_entry("any/1")
    assert (entry.value, entry.version) == ("old", 3)


def test_versions_go_on_after_an_unset(tmp_path: Path) -> None:
    path, cache = tmp_path / "dump", Cache.get_instance()
    cache.set("any/1", 1)
    kck("dump", path)
    cache.set("any/1", 2)
    cache.unset("any/1")
    kck("load", path)
    entry = cache.get_entry("any/1")
    assert (entry.value, entry.version) == (1, 4)


def test_what_was_made_from_a_replaced_product_becomes_stale(customers: list[int], tmp_path: Path) -> None:
    cache, key = Cache.get_instance(), f"takings/{customers[0]}"
    path = tmp_path / "dump"
    cache.set(key, 1)
    kck("dump", path, "--product", "takings")
    cache.set(key, 2)
    assert [customers[0], 2] in cache.get("best")
    kck("load", path, "--overwrite")
    assert [customers[0], 1] in cache.get("best")


def test_what_is_on_its_way_to_a_product_does_not_get_lost(customers: list[int], tmp_path: Path) -> None:
    cache, key, path = Cache.get_instance(), f"takings/{customers[0]}", tmp_path / "dump"
    cache.get(key)
    cache.get(f"takings/{customers[1]}")
    Order.objects.create(customer_id=customers[0], cents=5)
    kck("dump", path)
    flush()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM kck_pending")
    kck("load", path)
    assert kck("get", key, "--no-compute").code == 1
    assert kck("get", f"takings/{customers[1]}", "--no-compute").code == 0
    assert cache.get(key) == 105


def test_an_augmented_product_is_computed_afresh_after_a_load(customers: list[int], tmp_path: Path) -> None:
    cache, key, path = Cache.get_instance(), f"tally/{customers[0]}", tmp_path / "dump"
    cache.get(key)
    kck("dump", path)
    flush()
    Order.objects.create(customer_id=customers[0], cents=5)
    said = kck("load", path)
    assert "1 augmented product will be computed afresh" in said.err
    assert cache.get(key) == {"orders": 2, "cents": 105}


def test_loaded_products_may_be_wanted_anew(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    with freeze_time() as clock:
        Cache.get_instance().get("opening")
        kck("dump", path)
        flush()
        kck("load", path, "--stale")
        clock.move(seconds=1)
        assert kck("keys", "--format", "json").rows[0]["state"] == "stale"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda lines: lines[:-1], "was cut off"),
        (lambda lines: [*lines[:2], *lines[3:]], "lines are missing"),
        (lambda lines: [*lines[:1], lines[1][:40], *lines[2:]], "Line 2 is broken"),
        (
            lambda lines: [lines[0].replace('"kck_flow_dump": 1', '"kck_flow_dump": 99'), *lines[1:]],
            "has format 99",
        ),
        (
            lambda lines: [lines[0], lines[1].replace('"version"', '"verzion"'), *lines[2:]],
            "Line 2 lacks version",
        ),
        (
            lambda lines: [lines[0], lines[1].replace('"product"', '"potato"'), *lines[2:]],
            "of the kind 'potato'",
        ),
        (lambda lines: lines[1:], "This is no dump"),
        (lambda lines: [], "This is no dump"),
        (
            lambda lines: [
                lines[0],
                lines[1].replace('"computed_at": "', '"computed_at": "noon of '),
                *lines[2:],
            ],
            "Lines 2 to 4 cannot be stored",
        ),
    ],
    ids=["cut", "missing", "broken", "newer", "lacking", "unknown", "headless", "empty", "odd"],
)
def test_a_spoilt_file_is_refused_and_nothing_of_it_stored(spoil: Any, told: str, tmp_path: Path) -> None:
    path, cache = tmp_path / "dump", Cache.get_instance()
    for name in "abc":
        cache.set(f"any/{name}", 1)
    kck("dump", path)
    path.write_text("".join(line + "\n" for line in spoil(path.read_text().splitlines())))
    flush()
    said = kck("load", path)
    assert said.code == 1
    assert told in said.err
    assert rows("kck_product") == []


def test_files_that_cannot_be_read_or_written_are_told(tmp_path: Path) -> None:
    assert kck("load", tmp_path / "nothing").code == 1
    assert kck("load", tmp_path).code == 1
    (tmp_path / "odd.gz").write_text("no gzip")
    assert "cannot be read" in kck("load", tmp_path / "odd.gz").err
    (tmp_path / "odd").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in kck("load", tmp_path / "odd").err
    assert "cannot be written" in kck("dump", tmp_path / "no" / "where").err
    (tmp_path / "there").write_text("precious")
    said = kck("dump", tmp_path / "there")
    assert said.code == 1
    assert "--overwrite" in said.err
    assert (tmp_path / "there").read_text() == "precious"
    assert kck("dump", tmp_path / "there", "--overwrite").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd", "odd.gz", "there"]
    assert kck("dump").code in (1, 2)
    assert kck("load").code in (1, 2)
    assert kck("dump", tmp_path / "x", "--database", "elsewhere").code == 2
    assert kck("dump", tmp_path / "x", "--product", "nothing").code == 2


def test_a_load_fences_a_compute_under_way(tmp_path: Path) -> None:
    # What a computation has seen is no longer what stands there: its publish is refused by version and epoch.
    path, cache = tmp_path / "dump", Cache.get_instance()
    cache.get("opening")
    kck("dump", path)
    cache.unset("opening")
    before = rows("kck_product")[0]["epoch"]
    kck("load", path)
    assert rows("kck_product")[0]["epoch"] == before + 1
    assert registry.key("opening")
