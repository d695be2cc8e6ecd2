"""Set, unset, refresh, invalidate over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from kck_flow.store import refreshes
from kck_flow.store.session import caller

from .conftest import ROOT

pytestmark = pytest.mark.django_db


def put(client: Client, key: str, body: Any, **headers: str) -> Any:
    text = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return client.put(f"{ROOT}/products/{key}.json", text, "application/json", headers=headers)


def test_a_value_is_set_and_read_again(api: Any, client: Client, staff: Any) -> None:
    response = put(client, "a_kept", {"value": {"a": [1, None, "é"]}})
    assert response.status_code == 201
    assert response.headers["Location"].endswith("/products/a_kept.json")
    assert response.json()["meta"]["version"] == 1
    assert api.get("a_kept") == {"a": [1, None, "é"]}
    again = put(client, "a_kept", {"value": None})
    assert again.status_code == 200
    assert client.get(f"{ROOT}/products/a_kept.json").json()["value"] is None


def test_what_no_primer_declares_can_be_set(api: Any, client: Client, staff: Any) -> None:
    assert put(client, "a_by_hand/1", {"value": 5}).status_code == 201
    assert client.get(f"{ROOT}/products/a_by_hand/1.json").json()["value"] == 5
    assert client.delete(f"{ROOT}/products/a_by_hand/1.json").status_code == 204
    assert client.get(f"{ROOT}/products/a_by_hand/1.json").status_code in (404, 503)


def test_what_was_got_can_be_put_back(api: Any, client: Client, staff: Any) -> None:
    got = client.get(f"{ROOT}/products/a_kept.json")
    assert put(client, "a_kept", got.json(), **{"If-Match": got.headers["ETag"]}).status_code == 200


def test_it_expires_when_it_is_told_to(api: Any, client: Client, staff: Any) -> None:
    put(client, "a_kept", {"value": 1, "soft_expire": 60, "hard_expire": None})
    entry = api.get_entry("a_kept")
    assert entry.soft_expires_at - entry.computed_at == timedelta(seconds=60)
    assert entry.hard_expires_at is None


def test_a_version_that_has_gone_on_is_412_as_a_header_and_409_as_a_parameter(
    api: Any, client: Client, staff: Any
) -> None:
    etag = client.get(f"{ROOT}/products/a_kept.json").headers["ETag"]
    assert put(client, "a_kept", {"value": 2}, **{"If-Match": etag}).headers["ETag"] == '"2"'
    for verb in ("PUT", "DELETE"):
        body = json.dumps({"value": 3})
        late = client.generic(
            verb, f"{ROOT}/products/a_kept.json", body, "application/json", headers={"If-Match": etag}
        )
        assert late.status_code == 412
        assert late.json()["version"] == 2
        late = client.generic(verb, f"{ROOT}/products/a_kept.json?version=1", body, "application/json")
        assert late.status_code == 409
        assert late.json()["version"] == 2
    assert put(client, "a_kept", {"value": 3}, **{"If-Match": '"2"'}).status_code == 200
    assert put(client, "a_kept", {"value": 3}, **{"If-None-Match": "*"}).status_code == 412
    assert put(client, "a_new", {"value": 3}, **{"If-None-Match": "*"}).status_code == 201
    assert put(client, "a_kept", {"value": 3}, **{"If-Match": "latest"}).status_code == 400
    assert client.delete(f"{ROOT}/products/a_kept.json?version=3").status_code == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("1", 400),
        ("{}", 400),
        ('{"value": NaN}', 400),
        ('{"value": 1, "vale": 2}', 400),
        ('{"value": 1, "soft_expire": -1}', 400),
        ('{"value": 1, "soft_expire": "1"}', 400),
        ('{"value": 1, "hard_expire": true}', 400),
        ('{"value": "\\u0000"}', 200),
        ("[" * 100_000, 400),
        (b"\xff", 400),
        ('{"value": ' + "[" * 900 + "]" * 900 + "}", 422),
    ],
)  # fmt: skip
def test_a_wrong_body_is_told(api: Any, client: Client, staff: Any, body: Any, status: int) -> None:
    api.get("a_kept")
    response = put(client, "a_kept", body)
    assert response.status_code == status, response.content
    if status != 200:
        assert response.headers["Content-Type"] == "application/problem+json"


def test_a_body_is_json(api: Any, client: Client, staff: Any) -> None:
    assert client.put(f"{ROOT}/products/a_kept.json", "value=1", "text/plain").status_code == 415


def test_a_body_has_its_bounds(api: Any, client: Client, staff: Any, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert put(client, "a_kept", {"value": "x" * 200}).status_code == 413


def test_what_is_counted_cannot_be_set(api: Any, client: Client, staff: Any) -> None:
    response = put(client, "active", {"value": 3})
    assert response.status_code == 422
    assert "change the rows" in response.json()["detail"]


def test_a_refresh_is_queued_once(api: Any, client: Client, staff: Any) -> None:
    api.get("a_kept")
    for _time in range(2):
        response = client.post(f"{ROOT}/products/a_kept/refresh", '{"priority": 2}', "application/json")
        assert response.status_code == 202
        assert response.json() == {
            "key": "a_kept", "job": "queued", "href": "http://testserver/x/y/products/a_kept.json",
        }  # fmt: skip
    waiting = [row for row in refreshes.listed(caller("default")) if row[1] == "a_kept" or "a_kept" in row]
    assert len(waiting) == 1


def test_several_refreshes_have_a_job_each(api: Any, client: Client, staff: Any) -> None:
    body = {"keys": ["a_kept", "a_plain", "a_secret", "a_tenant/7", "a_kept"]}
    response = client.post(f"{ROOT}/products/refresh", json.dumps(body), "application/json")
    assert response.status_code == 202
    assert [(one["key"], one["job"], one.get("status")) for one in response.json()["jobs"]] == [
        ("a_kept", "queued", None),
        ("a_plain", "queued", None),
        ("a_secret", "refused", 404),
        ("a_tenant/7", "refused", 403),
    ]  # fmt: skip


def test_what_is_invalidated_is_computed_anew(api: Any, client: Client, staff: Any) -> None:
    api.set("a_kept", 17)
    assert client.post(f"{ROOT}/products/a_kept/invalidate").json() == {"key": "a_kept", "invalidated": 1}
    assert client.get(f"{ROOT}/products/a_kept.json").json()["value"] == 0


def test_a_button_leads_back_to_the_page(api: Any, client: Client, staff: Any) -> None:
    api.get("a_kept")
    response = client.post(
        f"{ROOT}/products/a_kept/refresh", {"x": "y"}, headers={"Accept": "text/html,*/*;q=0.1"}
    )
    assert (response.status_code, response.headers["Location"]) == (303, f"{ROOT}/products/a_kept")


def test_a_key_that_ends_like_a_deed_is_a_key(api: Any, client: Client, staff: Any) -> None:
    assert put(client, "a_by_hand/refresh", {"value": 5}).status_code == 201
    assert client.get(f"{ROOT}/products/a_by_hand/refresh.json").json()["value"] == 5
