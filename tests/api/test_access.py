"""Who may do what: one function guards all faces and verbs; what is wrong has one shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client, override_settings

from .conftest import ROOT, body_of, somebody

pytestmark = pytest.mark.django_db

PROBLEM = "application/problem+json"
WHO = ("nobody", "plain", "staff", "permitted", "token", "bad token", "tenant 7", "tenant 8")
OK = 200
# Of each product, what a GET of JSON, CSV and SVG answers to whom, in the order of WHO.
SEEN = {
    "a_plain": (OK, OK, OK, OK, OK, 401, OK, OK),
    "a_typed": (401, OK, OK, OK, OK, 401, OK, OK),
    "a_kept": (401, 403, OK, OK, OK, 401, 403, 403),
    "a_secret": (404, 404, 404, 404, 404, 401, 404, 404),
    "a_tenant/7": (401, 403, 403, 403, 403, 401, OK, 403),
    "a_tenant/x": (401, 404, 404, 404, 404, 401, 404, 404),
    "a_nothing": (401, 403, 404, 404, 404, 401, 403, 403),
}
# What whoever may see it, or not, gets for doing something to ``a_kept``, ``a_tenant/7``.
DONE = {
    ("PUT", "a_kept.json"): (401, 403, 403, OK, OK, 401, 403, 403),
    ("DELETE", "a_kept.json"): (401, 403, 403, 204, 204, 401, 403, 403),
    ("POST", "a_kept/refresh"): (401, 403, 403, 202, 202, 401, 403, 403),
    ("POST", "a_kept/invalidate"): (401, 403, 403, OK, OK, 401, 403, 403),
    ("POST", "a_kept/share"): (401, 403, 403, 201, 201, 401, 403, 403),
    ("PUT", "a_tenant/7.json"): (401, 403, 403, 403, 403, 401, 201, 403),
    ("POST", "a_tenant/7/refresh"): (401, 403, 403, 403, 403, 401, 202, 403),
    ("PUT", "a_secret.json"): (404, 404, 404, 404, 404, 401, 404, 404),
}
BODIES = {"PUT": {"value": 1}, "share": {"name": "one"}}


@pytest.fixture
def clients(db: None) -> dict[str, Client]:
    """A client for each of WHO."""
    found = {name: Client(enforce_csrf_checks=False) for name in WHO}
    every = ("refresh", "invalidate", "write", "share")
    found["plain"].force_login(somebody("plain"))
    found["staff"].force_login(somebody("staff", is_staff=True))
    found["permitted"].force_login(somebody("permitted", *every, is_staff=True))
    somebody("writer", *every, is_staff=True)
    found["token"].defaults["HTTP_AUTHORIZATION"] = "Bearer of-writer"
    found["bad token"].defaults["HTTP_AUTHORIZATION"] = "Bearer of-nobody"
    found["bad token"].force_login(somebody("logged in besides", *every, is_staff=True))
    for customer in "78":
        found[f"tenant {customer}"].force_login(somebody(f"of{customer}", *every, first_name=customer))
    return found


@pytest.mark.parametrize("face", ["json", "csv", "svg", "accept"])
def test_who_may_see_what(api: Any, clients: dict[str, Client], face: str) -> None:
    for key, expected in SEEN.items():
        got = []
        for who in WHO:
            if face == "accept":
                response = clients[who].get(f"{ROOT}/products/{key}", headers={"Accept": "application/json"})
                assert "Accept" in response.headers["Vary"]
            else:
                response = clients[who].get(f"{ROOT}/products/{key}.{face}")
            got.append(response.status_code)
            assert "Traceback" not in body_of(response)
            if response.status_code >= 400:
                told = response.json()
                assert response.headers["Content-Type"] == PROBLEM
                assert told["status"] == response.status_code
                assert set(told) >= {"type", "title", "detail"}
                assert response.headers["Cache-Control"] == "no-store"
            if response.status_code == 401:
                assert "WWW-Authenticate" in response.headers
        assert tuple(got) == expected, (key, dict(zip(WHO, got, strict=True)))


@pytest.mark.parametrize(("verb", "address"), DONE)
def test_who_may_do_what(api: Any, clients: dict[str, Client], verb: str, address: str) -> None:
    got = []
    for who in WHO:
        before = api.get("a_kept")
        body = BODIES.get(verb) or BODIES.get(address.rpartition("/")[2], {})
        if "name" in body:
            body = {"name": who.replace(" ", "-")}
        response = clients[who].generic(
            verb, f"{ROOT}/products/{address}", json.dumps(body), "application/json"
        )
        got.append(response.status_code)
        if response.status_code >= 400:
            assert response.headers["Content-Type"] == PROBLEM
            assert api.get("a_kept") == before
        else:
            api.refresh("a_kept")
    assert tuple(got) == DONE[verb, address], dict(zip(WHO, got, strict=True))


def test_lists_name_only_what_may_be_seen(api: Any, clients: dict[str, Client]) -> None:
    keys = {
        who: {one["key"] for one in clients[who].get(f"{ROOT}/products.json").json()["rows"]}
        for who in WHO
        if who != "bad token"
    }
    assert keys["nobody"] == {"a_plain", "a_kiosk", "a_hung"}
    assert keys["plain"] == {"a_plain", "a_kiosk", "a_hung", "a_typed", "a_columned"}
    assert "a_kept" in keys["staff"]
    assert all("a_secret" not in found for found in keys.values())


def test_names_of_what_may_not_be_seen_are_not_told(api: Any, clients: dict[str, Client]) -> None:
    with override_settings(KCK_FLOW={"PERMISSION": "public"}):
        told = clients["nobody"].get(f"{ROOT}/products/a_secre.json").json()["detail"]
        assert "a_secret" not in told
        assert told == "There is no product 'a_secre'."
        assert "a_otherwise" in clients["nobody"].get(f"{ROOT}/products/a_otherwis.json").json()["detail"]


def test_a_metric_that_nobody_stored_is_not_there(api: Any, client: Client, staff: Any) -> None:
    for address in (
        "products/metric/none.json",
        "metrics/metric/none.json",
        "products/metric/none.csv?limit=3",
    ):
        assert client.get(f"{ROOT}/{address}").status_code == 404


def test_what_is_to_look_at_may_not_be_taken_away(api: Any, client: Client, staff: Any) -> None:
    assert client.get(f"{ROOT}/products/a_kiosk.json").status_code == 200
    assert client.get(f"{ROOT}/products/a_kiosk.csv").status_code == 403
    assert client.get(f"{ROOT}/products/a_kiosk", headers={"Accept": "text/csv"}).status_code == 403


def test_people_are_asked_to_log_in(api: Any, client: Client) -> None:
    response = client.get(f"{ROOT}/products/a_kept")
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login/?next=")


def test_a_session_needs_a_csrf_token_and_a_token_does_not(api: Any, staff: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(staff)
    for verb, address in (("PUT", "a_kept.json"), ("DELETE", "a_kept.json"), ("POST", "a_kept/refresh")):
        refused = strict.generic(verb, f"{ROOT}/products/{address}", b'{"value": 1}', "application/json")
        assert refused.status_code == 403
        assert refused.json()["title"] == "CSRF check failed"
    strict.cookies["csrftoken"] = "a" * 32
    given = strict.put(
        f"{ROOT}/products/a_kept.json", b'{"value": 1}', "application/json", headers={"X-CSRFToken": "a" * 32}
    )
    assert given.status_code in (200, 201)
    somebody("writer", "write", is_staff=True)
    by_token = Client(enforce_csrf_checks=True)
    given = by_token.put(
        f"{ROOT}/products/a_kept.json",
        b'{"value": 2}',
        "application/json",
        headers={"Authorization": "Bearer of-writer"},
    )
    assert given.status_code == 200


def test_without_the_setting_a_token_means_nothing(api: Any, staff: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(staff)
    with override_settings(KCK_FLOW={}):
        refused = strict.put(
            f"{ROOT}/products/a_kept.json",
            b'{"value": 2}',
            "application/json",
            headers={"Authorization": "Bearer x"},
        )
        assert refused.status_code == 403
        seen = strict.get(f"{ROOT}/products/a_kept.json", headers={"Authorization": "Bearer x"})
        assert seen.status_code == 200


@pytest.mark.parametrize(
    "address", ["products.json", "products/a_plain.csv", "metrics.json", "overview.json", "openapi.json"]
)
@pytest.mark.parametrize("verb", ["PATCH", "TRACE", "POST"])
def test_what_may_not_be_done_says_what_may(
    api: Any, client: Client, staff: Any, address: str, verb: str
) -> None:
    response = client.generic(verb, f"{ROOT}/{address}")
    assert response.status_code == 405
    assert response.headers["Content-Type"] == PROBLEM
    assert "GET" in response.headers["Allow"]
    assert verb not in response.headers["Allow"]


def test_what_nobody_accepts_is_406(api: Any, client: Client) -> None:
    response = client.get(f"{ROOT}/products/a_plain", headers={"Accept": "application/xml"})
    assert response.status_code == 406
    assert response.headers["Content-Type"] == PROBLEM
    assert "application/json" in response.json()["detail"]
    for accept, kind in (
        ("application/json", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("image/svg+xml", "image/svg+xml"),
        ("text/html;q=0.1, text/csv;q=0.9", "text/csv; charset=utf-8"),
    ):  # fmt: skip
        assert (
            client.get(f"{ROOT}/products/a_plain", headers={"Accept": accept}).headers["Content-Type"] == kind
        )


def test_what_fails_is_503_says_when_to_ask_again_and_tells_no_secret(
    api: Any, client: Client, staff: Any
) -> None:
    for face in ("json", "csv"):
        response = client.get(f"{ROOT}/products/a_failing.{face}")
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "30"
        assert response.json()["state"] == "failed"
        assert "12345" not in body_of(response)


def test_what_is_not_primed_and_may_not_be_is_503(api: Any, client: Client, staff: Any) -> None:
    api.set("by_hand", 1)
    api.unset("by_hand")
    assert client.get(f"{ROOT}/products/by_hand.json").status_code in (404, 503)


def test_a_broken_page_is_told_without_a_traceback(
    api: Any, client: Client, monkeypatch: Any, caplog: Any
) -> None:
    from kck_flow.api import values

    monkeypatch.setattr(values, "page", lambda *_: {}["key"])
    client.raise_request_exception = False
    response = client.get(f"{ROOT}/products/a_plain.json")
    assert response.status_code == 500
    assert response.json() == {
        "type": "about:blank", "title": "Broken", "status": 500,
        "detail": "This could not be answered. Whoever keeps this site finds why in its log.",
    }  # fmt: skip
    assert "page.failed" in caplog.text


def test_other_sites_may_ask_where_the_setting_says_so(api: Any, client: Client) -> None:
    ours, theirs = "https://app.example.org", "https://elsewhere.example.org"
    assert (
        "Access-Control-Allow-Origin"
        not in client.get(f"{ROOT}/products/a_plain.json", headers={"Origin": ours}).headers
    )
    with override_settings(KCK_FLOW={"CORS_ORIGINS": [ours]}):
        for origin, allowed in ((ours, ours), (theirs, None), ("null", None), ("", None)):
            for address in ("a_plain.json", "a_kept.json", "a_plain.csv"):
                got = client.get(f"{ROOT}/products/{address}", headers={"Origin": origin} if origin else {})
                assert got.headers.get("Access-Control-Allow-Origin") == allowed
                assert "Origin" in got.headers["Vary"]
                assert "Access-Control-Allow-Credentials" not in got.headers
        asked = client.options(
            f"{ROOT}/products/a_kept.json",
            headers={
                "Origin": ours,
                "Access-Control-Request-Method": "PUT",
                "Access-Control-Request-Headers": "If-Match",
            },
        )
        assert asked.status_code == 204
        assert "PUT" in asked.headers["Access-Control-Allow-Methods"]
        assert "If-Match" in asked.headers["Access-Control-Allow-Headers"]
        refused = client.options(f"{ROOT}/products/a_kept.json", headers={"Origin": theirs})
        assert "Access-Control-Allow-Methods" not in refused.headers
        assert "PUT" in refused.headers["Allow"]
