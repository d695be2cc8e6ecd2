"""export: what is recorded, as other programs read it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pyarrow import parquet

from kck_flow import Cache, Primer
from kck_flow.testing import freeze_time, registered
from tests.commands.conftest import kck, run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bakery")]

BEGAN = datetime(2026, 3, 1, 10, tzinfo=UTC)
ODD = ["=1+1", "a,b", "-5", "one\ntwo", 'she said "no"', -5, -1.5, None, Decimal("1.10")]


class Exported(Primer):
    """Whatever it is set to, remembered."""

    key_base = "exported_odd"
    keep_history = True
    retention = timedelta(days=3650)

    def compute(self, key: Any) -> Any:
        return 0


@pytest.fixture
def odd() -> Any:
    """A product that held each of the odd values, a minute each."""
    with registered(Exported):
        with freeze_time(BEGAN) as clock:
            for value in ODD:
                Cache.get_instance().set("exported_odd", value)
                clock.move(minutes=1)
        yield


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.usefixtures("odd")
def test_a_csv_has_each_record_once_and_runs_no_formula() -> None:
    said = kck("export", "exported_odd")
    assert said.code == 0
    rows = read(said.out)
    assert [row["value"] for row in rows] == [
        "'=1+1", "a,b", "'-5", "one\ntwo", 'she said "no"', "-5", "-1.5", "", "1.10",
    ]  # fmt: skip
    assert [row["start_at"] for row in rows] == [
        (BEGAN + timedelta(minutes=n)).isoformat() for n in range(len(ODD))
    ]
    assert {row["complete"] for row in rows} == {"true"}
    assert "exported 9 records" in said.err


@pytest.mark.usefixtures("odd")
def test_json_has_the_values_as_they_are() -> None:
    rows = kck("export", "exported_odd", "--format", "json").rows
    assert [row["value"] for row in rows[:7]] == ODD[:7]
    assert rows[7]["value"] is None
    assert {row["key"] for row in rows} == {"exported_odd"}


@pytest.mark.usefixtures("odd")
def test_a_range_includes_its_beginning_and_not_its_end() -> None:
    until = BEGAN + timedelta(minutes=3)
    rows = kck(
        "export", "exported_odd", "--from", BEGAN + timedelta(minutes=1), "--to", until, "--format", "json"
    ).rows
    assert [row["value"] for row in rows] == ODD[1:3]


@pytest.mark.usefixtures("odd")
def test_a_correction_stands_for_what_it_corrects() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO kck_record (digest, key, key_base, start_at, value, revision, version, primer_version, "
            "complete, facet, facet_digest, written_at) "
            "SELECT digest, key, key_base, start_at, to_jsonb(7), 2, version, 1, true, facet, facet_digest, now() "
            "FROM kck_record WHERE key = 'exported_odd' AND start_at = %s",
            [BEGAN],
        )
    first = kck("export", "exported_odd", "--format", "json").rows[0]
    assert (first["value"], first["revision"]) == (7, 2)
    both = kck("export", "exported_odd", "--format", "json", "--revisions").rows[:2]
    assert [row["value"] for row in both] == ["=1+1", 7]


@pytest.mark.usefixtures("odd")
def test_pages_lose_and_double_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kck("export").out
    monkeypatch.setattr("kck_flow.store.copies.PAGE", 2)
    assert kck("export").out == whole
    assert len(read(whole)) == len(ODD)  # and none of the engine's own


@pytest.mark.usefixtures("odd")
def test_a_file_is_whole_and_not_replaced_unless_told_to(tmp_path: Path) -> None:
    path = tmp_path / "odd.json.gz"
    assert kck("export", "exported_odd", "--output", path).code == 0
    with gzip.open(path, "rt") as file:
        assert len(json.load(file)) == len(ODD)
    again = kck("export", "exported_odd", "--output", path)
    assert again.code == 1
    assert "--overwrite" in again.err
    assert kck("export", "exported_odd", "--output", path, "--overwrite").code == 0
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.usefixtures("odd")
def test_parquet_has_a_type_for_each_column_and_each_value_exactly_row_240(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kck_flow.management.parquet.ROWS", 4)
    path = tmp_path / "odd.parquet"
    said = kck("export", "exported_odd", "--output", path)
    assert said.code == 0, said
    table = parquet.read_table(path)
    rows = table.to_pylist()
    assert [json.loads(row["value"]) if row["value"] else None for row in rows[:8]] == ODD[:8]
    assert [row["number"] for row in rows] == [None] * 5 + [-5.0, -1.5, None, 1.1]
    assert [row["start_at"] for row in rows] == [BEGAN + timedelta(minutes=n) for n in range(len(ODD))]
    assert {str(table.schema.field(name).type) for name in ("start_at", "end_at", "written_at")} == {
        "timestamp[us, tz=UTC]"
    }
    assert parquet.ParquetFile(path).num_row_groups == 3
    told = [{name: row[name] for name in ("key", "revision", "version", "complete")} for row in rows]
    assert told == [
        {name: row[name] for name in told[0]}
        for row in kck("export", "exported_odd", "--format", "json").rows
    ]
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--format", "parquet"), "name a file with --output"),
        (("--format", "parquet", "--output", "x.parquet.gz"), "leave .gz out of x.parquet.gz"),
    ],
)
def test_what_parquet_cannot_be_is_said(options: tuple[str, ...], told: str) -> None:
    said = kck("export", *options)
    assert (said.code, told in said.err) == (2, True), said


def test_without_pyarrow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kck_flow.management.verbs.exporting.find_spec", lambda name: None)
    said = kck("export", "--output", tmp_path / "x.parquet")
    assert (said.code, "pip install 'kck-flow[parquet]'" in said.err) == (1, True), said
    assert not list(tmp_path.iterdir())


def test_what_is_asked_wrongly_is_said_with_what_was_meant() -> None:
    assert kck("export", "bst").code == 2
    assert "Did you mean 'best'" in kck("export", "bst").err
    assert kck("export", "best", "takings/1").code == 2
    turned = kck("export", "--from", "2026-03-02", "--to", "2026-03-01")
    assert turned.code == 2
    assert "is not before" in turned.err


def test_one_key_of_a_family() -> None:
    cache = Cache.get_instance()
    cache.set("best", [[1, 2]])
    cache.set("opening", {})
    assert [row["value"] for row in kck("export", "best", "--format", "json").rows] == [[[1, 2]]]
    empty = kck("export", "takings/1")
    assert (empty.code, read(empty.out)) == (0, [])
    assert "keep_history" in empty.err


@pytest.mark.django_db(transaction=True)
def test_a_process_of_its_own_reads_one_snapshot() -> None:
    Cache.get_instance().set("best", [[1, 2]])
    said = run("export", "best")
    assert (said.code, read(said.out)[0]["value"]) == (0, "[[1,2]]"), said
