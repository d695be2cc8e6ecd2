"""A product's value over HTTP: its bytes, its headers, its tables."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from unittest.mock import ANY

import pytest
from django.db.models import F
from django.test import Client, override_settings

from kck_flow.models import DataProduct
from kck_flow.registry import registry
from kck_flow.store import products
from kck_flow.store.session import caller
from kck_flow.testing import freeze_time
from tests.pages.conftest import Signups

from .conftest import NOW, ROOT, body_of

pytestmark = pytest.mark.django_db


def test_a_value_is_what_is_stored(api: Any, client: Client) -> None:
    api.get("a_plain")
    response = client.get(f"{ROOT}/products/a_plain.json")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    told = response.json()
    assert told["value"] == [1, 2, {"b": "é", "a": None}]
    assert told["meta"] == {
        "key": "a_plain", "label": "A list that is stored as it is shown", "kind": "product", "unit": None,
        "unit_plural": None, "state": "fresh", "version": 1, "computed_at": ANY, "fresh_until": ANY, "complete": True,
        "unstable": True,
    }  # fmt: skip


def test_a_miss_is_computed_and_told_alike(api: Any, client: Client) -> None:
    first = client.get(f"{ROOT}/products/a_plain.json").json()
    assert client.get(f"{ROOT}/products/a_plain.json").json() == first


def test_stored_text_is_not_decoded(api: Any, client: Client, monkeypatch: Any) -> None:
    from kck_flow import codec

    api.get("a_plain")
    monkeypatch.setattr(codec.JSONCodec, "decode", lambda *_: pytest.fail("decoded"))
    assert client.get(f"{ROOT}/products/a_plain.json").status_code == 200


def test_types_that_json_has_not_are_plain_for_people(api: Any, client: Client, staff: Any) -> None:
    api.get("a_typed")
    text = client.get(f"{ROOT}/products/a_typed.json").content.decode()
    assert "$" not in text
    assert json.loads(text)["value"][0]["since"] == "2026-01-31"


def test_the_same_version_is_not_sent_again(api: Any, client: Client) -> None:
    for address in (
        "a_plain.json",
        "a_plain.csv",
        "a_otherwise.json",
        "a_otherwise.csv",
        "a_kept.csv?from=2026-01-01",
    ):
        with override_settings(KCK_FLOW={"PERMISSION": "public"}):
            first = client.get(f"{ROOT}/products/{address}")
            etag = first.headers["ETag"]
            assert etag.startswith('"'), address
            assert body_of(first)
            again = client.get(f"{ROOT}/products/{address}", headers={"If-None-Match": f'"other", W/{etag}'})
            assert again.status_code == 304, address
            assert body_of(again) == ""
            assert again.headers["ETag"] == etag
            assert (
                again.headers["Cache-Control"].split(",")[0] == first.headers["Cache-Control"].split(",")[0]
            )
            assert (
                client.get(f"{ROOT}/products/{address}", headers={"If-None-Match": '"other"'}).status_code
                == 200
            )


def test_another_version_is_sent(api: Any, client: Client) -> None:
    etag = client.get(f"{ROOT}/products/a_plain.json").headers["ETag"]
    api.set("a_plain", [2])
    again = client.get(f"{ROOT}/products/a_plain.json", headers={"If-None-Match": etag})
    assert again.json()["value"] == [2]
    assert again.headers["ETag"] != etag


def test_a_known_version_is_not_even_read(api: Any, client: Client, django_assert_num_queries: Any) -> None:
    etag = client.get(f"{ROOT}/products/a_plain.json").headers["ETag"]
    etag = client.get(f"{ROOT}/products/a_plain.json").headers["ETag"]
    with django_assert_num_queries(1) as seen:
        assert client.get(f"{ROOT}/products/a_plain.json", headers={"If-None-Match": etag}).status_code == 304
    stamp = etag.strip('"').rpartition("-")[0]
    assert stamp in seen.captured_queries[0]["sql"]
    found = products.fresh_plain(caller("default"), registry.key("a_plain"), 1, probe=False, known=stamp)
    assert found is not None
    assert (found.text, found.stamp) == (None, stamp)


def test_another_version_of_the_same_instant_is_another(api: Any, client: Client) -> None:
    api.get("a_plain")
    first = client.get(f"{ROOT}/products/a_plain.json").headers["ETag"]
    assert DataProduct.objects.filter(key="a_plain").update(version=F("version") + 1) == 1
    assert client.get(f"{ROOT}/products/a_plain.json").headers["ETag"] != first


@pytest.mark.parametrize(
    "header", ["*", '"', "'; DROP TABLE x; --", '"1-1-1-1"', "W/", '"1-' + "f" * 99 + '-1-1"']
)
def test_any_if_none_match_is_answered(api: Any, client: Client, header: str) -> None:
    api.get("a_plain")
    response = client.get(f"{ROOT}/products/a_plain.json", headers={"If-None-Match": header})
    assert response.status_code == (304 if header == "*" else 200)


def test_it_may_be_kept_as_long_as_it_is_fresh(api: Any, client: Client) -> None:
    with freeze_time(NOW) as clock:
        client.get(f"{ROOT}/products/a_plain.json")
        until = api.get_entry("a_plain").soft_expires_at
        clock.move(seconds=60)
        left = int((until - clock()).total_seconds())
        told = client.get(f"{ROOT}/products/a_plain.json").headers["Cache-Control"]
        beyond = int((api.get_entry("a_plain").hard_expires_at - clock()).total_seconds()) - left
        assert told == f"public, max-age={left}, stale-while-revalidate={beyond}"


def test_what_a_change_may_make_stale_is_asked_for_anew(api: Any, client: Client, staff: Any) -> None:
    response = client.get(f"{ROOT}/products/a_kept.json")
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" in response.headers["Vary"]
    assert "Authorization" in response.headers["Vary"]
    assert client.get(f"{ROOT}/products/a_hung.json").headers["Cache-Control"] == "public, no-cache"


def test_head_has_the_headers_and_no_body(api: Any, client: Client) -> None:
    for face in ("json", "csv"):
        got, head = (getattr(client, how)(f"{ROOT}/products/a_plain.{face}") for how in ("get", "head"))
        assert head.status_code == 200
        assert body_of(head) == ""
        for name in ("ETag", "Last-Modified", "Cache-Control", "Content-Type"):
            assert head.headers[name] == got.headers[name]


def test_head_makes_no_table(api: Any, rf: Any) -> None:
    from kck_flow.api.resources import show_product

    response = show_product(rf.head("/a_plain.csv"), "a_plain", "csv")
    assert list(response.streaming_content) == []


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_a_csv_of_dicts_is_their_rows(api: Any, client: Client, staff: Any) -> None:
    response = client.get(f"{ROOT}/products/a_typed.csv")
    assert response.streaming
    assert rows(body_of(response)) == [
        ["name", "spent", "since"],
        ['Ada, "the first"\nof many', "-12.50", "2026-01-31"],
        ["'=HYPERLINK(A1)", "-3", ""],
    ]


def test_a_csv_has_the_declared_columns(api: Any, client: Client, staff: Any) -> None:
    assert rows(body_of(client.get(f"{ROOT}/products/a_columned.csv")))[:2] == [
        ["since", "name"],
        ["2026-01-31", 'Ada, "the first"\nof many'],
    ]


def test_a_csv_of_a_dict_is_key_and_value_and_of_a_scalar_one_cell(
    api: Any, client: Client, staff: Any
) -> None:
    for value, told in (({"a": 1, "b": [2]}, "key,value\r\na,1\r\nb,[2]\r\n"), (-7, "-7\r\n"), ("+7", "'+7\r\n"),
                        (None, '""\r\n'), ([1, 2], "value\r\n1\r\n2\r\n"), ([], "value\r\n")):  # fmt: skip
        api.set("a_kept", value)
        assert body_of(client.get(f"{ROOT}/products/a_kept.csv")) == told


def test_a_primer_may_show_its_value_otherwise(api: Any, client: Client, staff: Any) -> None:
    for _time in range(2):
        assert client.get(f"{ROOT}/products/a_otherwise/4.json").json()["value"] == {"sum": 6}
        assert body_of(client.get(f"{ROOT}/products/a_otherwise/4.csv")) == "sum,note\r\n6,'=1+1\r\n"


def test_a_key_is_one_segment_too(api: Any, client: Client, staff: Any) -> None:
    assert client.get(f"{ROOT}/products/a_otherwise%2F4.json").json()["meta"]["key"] == "a_otherwise/4"


def test_a_csv_for_a_spreadsheet_begins_with_a_mark_and_is_a_file(api: Any, client: Client) -> None:
    response = client.get(f"{ROOT}/products/a_plain.csv?bom=1&dl=1")
    assert body_of(response).startswith("\ufeffvalue")
    assert (
        response.headers["Content-Disposition"]
        == 'attachment; filename="A list that is stored as it is shown.csv"'
    )


def test_what_is_counted_has_no_version_and_is_told_apart_by_what_it_is(
    api: Any, client: Client, staff: Any
) -> None:
    first = client.get(f"{ROOT}/products/a_open.json")
    assert first.json()["meta"]["computed_at"] is None or first.json()["meta"]["version"]
    again = client.get(f"{ROOT}/products/a_open.json", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def test_layout_is_told_where_it_is_asked_for(api: Any, client: Client, staff: Any) -> None:
    told = client.get(f"{ROOT}/products/p_signups.json?range=7d&extra=layout,columns&shape=arrays").json()
    assert told["layout"]["goal"] == Signups.goal
    assert told["columns"] == ["start", "end", "value", "complete"]
    assert len(told["rows"][0]) == 4
    assert client.get(f"{ROOT}/products/a_columned.json?extra=layout").json()["layout"]["columns"] == [
        "since",
        "name",
    ]
