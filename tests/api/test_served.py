"""The API as a server sends it: what a client of Django's never sees."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import override_settings

from .conftest import ROOT


@pytest.mark.django_db(transaction=True)
def test_what_goes_over_the_wire(api: Any, live_server: Any) -> None:
    place = urlsplit(live_server.url)

    def ask(verb: str, path: str, **headers: str) -> tuple[Any, bytes]:
        line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        try:
            line.request(verb, f"{ROOT}/products/{path}", headers=headers)
            response = line.getresponse()
            return response, response.read()
        finally:
            line.close()

    with override_settings(ALLOWED_HOSTS=["*"]):
        first, body = ask("GET", "a_plain.json")
        assert (first.status, first.headers["Content-Type"]) == (200, "application/json")
        assert body.startswith(b'{"value":[1, 2, ')
        head, nothing = ask("HEAD", "a_plain.json")
        assert (head.status, nothing, head.headers["ETag"]) == (200, b"", first.headers["ETag"])
        for path in ("a_plain.json", "a_plain.csv"):
            etag = ask("GET", path)[0].headers["ETag"]
            known, nothing = ask("GET", path, **{"If-None-Match": etag})
            assert (known.status, nothing, known.headers["Content-Type"]) == (304, b"", None)
        body = ask("GET", "a_plain.csv")[1]
        assert body == 'value\r\n1\r\n2\r\n"{""b"":""é"",""a"":null}"\r\n'.encode()
        refused, body = ask("GET", "a_kept.json", Accept="text/html")
        assert (refused.status, refused.headers["Content-Type"]) == (401, "application/problem+json")
        odd, _body = ask("GET", "%FF%0A%00.json")
        assert odd.status in (401, 404)
        assert odd.headers["Content-Type"] == "application/problem+json"
