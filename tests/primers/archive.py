"""An API of what happened, on this machine: it has pages as it is told, and fails as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.primers.loopback import Loopback, begin

Fault = Callable[[BaseHTTPRequestHandler], None]


class Archive:
    """What happened, asked for at ``/log``.

    Attributes:
        rows: (instant, id, more) of each.
        size: How many a page has at most, whatever is asked for.
        style: ``numbers``, ``links`` or ``cursors``.
        newest_first: Whether it begins with the newest.
        fault: Asked before each answer, with the number of the call from 1 on: what answers in its place, or None.
        after: Called after each answer, with the number of the call.
        changed: What becomes of the answer, by the number of the call.
    """

    def __init__(self, server: Loopback, style: str = "numbers", size: int = 3) -> None:
        self.server, self.style, self.size = server, style, size
        self.rows: list[tuple[datetime, str, dict[str, Any]]] = []
        self.newest_first = False
        self.calls = 0
        self.fault: Callable[[int], Fault | None] = lambda call: None
        self.after: Callable[[int], None] = lambda call: None
        self.changed: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda call, body: body
        server.answer("/log", self._answer)

    @property
    def url(self) -> str:
        return self.server.url("/log?order=asc")

    def put(self, at: datetime, id: str, **more: Any) -> None:
        self.rows.append((at, id, more))

    def remove(self, id: str) -> None:
        self.rows = [row for row in self.rows if row[1] != id]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.calls += 1
        call = self.calls
        fault = self.fault(call)
        if fault is not None:
            fault(handler)
            return
        body = json.dumps(self.changed(call, self._body(handler.path))).encode()
        begin(handler, 200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        handler.wfile.write(body)
        self.after(call)

    def _body(self, path: str) -> dict[str, Any]:
        asked = {name: values[-1] for name, values in parse_qs(urlsplit(path).query).items()}
        since, until = (_instant(asked[name]) for name in ("since", "until"))
        # Both bounds are included, as many have it.
        found = sorted((row for row in self.rows if since <= row[0] <= until), key=lambda row: row[0])
        if "kind" in asked:
            found = [row for row in found if row[2].get("kind") == asked["kind"]]
        if self.newest_first:
            found.reverse()
        start = int(asked.get("page", asked.get("cursor", "1"))) - 1
        some = found[start * self.size : (start + 1) * self.size]
        body: dict[str, Any] = {
            "items": [{"id": id, "at": at.isoformat(), **more} for at, id, more in some],
            "meta": {"total": len(found), "pages": -(-len(found) // self.size)},
        }
        if (start + 1) * self.size < len(found):
            body["next_cursor"] = str(start + 2)
            body["next"] = f"/log?{urlencode({**asked, 'page': start + 2})}"
        else:
            body["next"] = None
        return body


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(int(text), UTC) if text.isdigit() else datetime.fromisoformat(text)


def failing(status: int, **headers: str) -> Fault:
    """Return what answers with a status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(
            handler, status, {"Content-Length": "0", **{k.replace("_", "-"): v for k, v in headers.items()}}
        )

    return answer
