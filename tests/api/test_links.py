"""Signed links: one thing for whoever has the link, for a while."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import signing
from django.test import Client, override_settings

from .conftest import NOW, ROOT, body_of

pytestmark = pytest.mark.django_db


def shared(client: Client, key: str = "p_signups", **body: Any) -> dict[str, Any]:
    response = client.post(
        f"{ROOT}/products/{key}/share",
        json.dumps({"name": "one", "range": "14d", **body}),
        "application/json",
    )
    assert response.status_code == 201, response.content
    assert response.headers["Location"] == response.json()["href"]
    return response.json()


def path(href: str) -> str:
    return urlsplit(href).path


@pytest.fixture
def link(history: Any, api_of_history: Any, client: Client, staff: Any) -> dict[str, Any]:
    return shared(
        client, contact="data@example.org", frame_ancestors=["https://wiki.example.org"], tz="Europe/Paris"
    )


@pytest.fixture
def stranger() -> Client:
    return Client()


def test_whoever_has_it_sees_it_in_every_face(link: Any, stranger: Client) -> None:
    page = stranger.get(path(link["href"]))
    assert page.status_code == 200
    text = body_of(page)
    assert "Sign-ups" in text
    assert "<svg" in text
    assert "Europe/Paris" in text
    assert "April 9, 2026" in text
    told = stranger.get(path(link["json"])).json()
    assert len(told["rows"]) >= 14
    assert len(body_of(stranger.get(path(link["csv"]))).splitlines()) == len(told["rows"]) + 1
    assert stranger.get(path(link["svg"])).headers["Content-Type"] == "image/svg+xml"


def test_it_leads_nowhere_knows_nobody_and_runs_nothing(link: Any, stranger: Client, client: Client) -> None:
    for who in (stranger, client):
        page = who.get(path(link["href"]), headers={"Cookie": "kck_theme=dark"})
        text = body_of(page)
        assert not page.cookies
        assert "<a " not in text
        assert "<script" not in text
        assert "style=" not in text
        assert 'data-theme="dark"' not in text
        assert "Cookie" not in page.headers.get("Vary", "")
        policy = dict(
            part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "https://wiki.example.org"
        assert "script-src" not in policy
        assert page.headers["Referrer-Policy"] == "no-referrer"


def test_its_own_rule_says_who_may_frame_it(link: Any, stranger: Client, client: Client) -> None:
    middleware = ["django.middleware.clickjacking.XFrameOptionsMiddleware"]
    with override_settings(MIDDLEWARE=middleware):
        assert "X-Frame-Options" not in stranger.get(path(link["href"])).headers
    other = shared(client, name="two")
    assert "frame-ancestors 'none'" in stranger.get(path(other["href"])).headers["Content-Security-Policy"]


def test_the_same_is_not_sent_again(link: Any, stranger: Client) -> None:
    for face in ("href", "json", "csv", "svg"):
        first = stranger.get(path(link[face]))
        again = stranger.get(path(link[face]), headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304, face


def test_it_expires_and_says_when_and_whom_to_ask(link: Any, history: Any, stranger: Client) -> None:
    history.set(NOW + timedelta(days=30, seconds=1))
    for face in ("href", "json"):
        over = stranger.get(path(link[face]))
        assert over.status_code == 410
        text = body_of(over)
        assert "expired on" in text
        assert "2026" in text
        assert "data@example.org" in text
        assert "Content-Security-Policy" in over.headers
    assert over.json()["contact"] == "data@example.org"


def test_it_is_withdrawn_by_name(link: Any, client: Client, stranger: Client) -> None:
    assert [row["name"] for row in client.get(f"{ROOT}/links.json").json()["rows"]] == ["one"]
    assert stranger.delete(path(link["revoke"])).status_code == 401
    assert client.delete(path(link["revoke"])).status_code == 204
    gone = stranger.get(path(link["href"]))
    assert gone.status_code == 410
    assert "withdrawn on" in body_of(gone)
    again = client.post(f"{ROOT}/products/p_signups/share", '{"name": "one"}', "application/json")
    assert again.status_code == 409


def test_it_holds_as_long_as_whoever_gave_it_may_share(link: Any, staff: Any, stranger: Client) -> None:
    assert stranger.get(path(link["href"])).status_code == 200
    staff.user_permissions.clear()
    assert stranger.get(path(link["href"])).status_code == 410
    staff.delete()
    assert stranger.get(path(link["href"])).status_code == 410


def test_what_it_says_cannot_be_changed(link: Any, stranger: Client) -> None:
    token = path(link["href"]).rpartition("/")[2]
    told, _sep, signature = token.rpartition(":")
    payload = json.loads(signing.b64_decode(told.encode()))
    for name, value in (
        ("p", {"range": "24m"}),
        ("e", payload["e"] + 9999),
        ("k", "a_kept"),
        ("n", "two"),
        ("s", "tile"),
    ):
        other = signing.b64_encode(json.dumps({**payload, name: value}).encode()).decode()
        assert stranger.get(f"{ROOT}/shared/{other}:{signature}.json").status_code == 403
    for wrong in (token[:-1], token + "x", told, "x:y", signing.Signer(salt="another").sign_object(payload)):
        assert stranger.get(f"{ROOT}/shared/{wrong}.json").status_code == 403
    for query in ("range=24m", "tz=UTC", "theme=dark", "from=2026-01-01"):
        assert stranger.get(f"{path(link['json'])}?{query}").status_code == 400


def test_a_tile_and_a_theme(
    history: Any, api_of_history: Any, client: Client, staff: Any, stranger: Client
) -> None:
    link = shared(client, show="tile", theme="dark")
    text = body_of(stranger.get(path(link["href"])))
    assert 'data-theme="dark"' in text
    assert "kck-tile" in text
    assert "<table" not in text


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"name": "a b"}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x", "show": "all"}, "show"),
        ({"name": "x", "show": "process"}, "show"),
        ({"name": "x", "theme": "pink"}, "theme"),
        ({"name": "x", "expires_in": 1}, "expires_in"),
        ({"name": "x", "expires_in": 1e12}, "expires_in"),
        ({"name": "x", "frame_ancestors": ["*"]}, "frame_ancestors"),
        ({"name": "x", "frame_ancestors": ["https://a; script-src *"]}, "frame_ancestors"),
        ({"name": "x", "contact": "y" * 201}, "contact"),
        ({"name": "x", "range": 3}, "range"),
        ({}, "name"),
        ({"nam": "x"}, "nam"),
    ],
)  # fmt: skip
def test_a_wrong_wish_is_told(
    history: Any, api_of_history: Any, client: Client, staff: Any, body: Any, member: str
) -> None:
    told = client.post(f"{ROOT}/products/p_signups/share", json.dumps(body), "application/json")
    assert told.status_code == 400, told.content
    assert told.json()["member"] == member


def test_a_wrong_range_is_told(history: Any, api_of_history: Any, client: Client, staff: Any) -> None:
    body = {"name": "x", "range": "9y"}
    told = client.post(f"{ROOT}/products/p_signups/share", json.dumps(body), "application/json")
    assert (told.status_code, told.json()["parameter"]) == (400, "range")
