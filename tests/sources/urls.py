"""Where messages are sent to, and by whom."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path

TOKEN, OLD, SECRET = "a token of the tills", "their token of last year", "what the bank signs with"
SOURCES: dict[str, dict[str, Any]] = {
    "web": {
        "source": "kck_flow.sources.http.HTTP",
        "senders": {
            "tills": {"token": [TOKEN, OLD], "topics": ["orders.*"]},
            "bank": {"secret": SECRET, "topics": ["payments"]},
        },
        "most": 5,
        "most_bytes": 2000,
    },
    "hooks": {
        "source": "kck_flow.sources.http.HTTP",
        "senders": {"forge": {"token": TOKEN, "topics": ["*"]}},
        "id": "event.id",
        "at": "event.at",
        "key": "repository",
    },
}


def receive(request: HttpRequest, source: str, topic: str = "") -> HttpResponse:
    from kck_flow.sources import http  # these settings are read before there are apps

    return http.receive(request, source, topic)


receive.csrf_exempt = True  # type: ignore[attr-defined]
urlpatterns = [
    path("messages/<str:source>/", receive),
    path("messages/<str:source>/<str:topic>/", receive),
]
