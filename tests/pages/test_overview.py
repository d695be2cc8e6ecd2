from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from .conftest import login

pytestmark = pytest.mark.django_db


def test_look(site: Any, history: Any, client: Client) -> None:
    login(client, is_staff=True)
    for place in (
        "",
        "metrics",
        "products",
        "processes",
        "frames",
        "dashboards",
        "metrics/p_signups",
        "metrics/p_share",
        "metrics/p_broken",
        "products/p_report",
        "products/p_signups",
    ):
        response = client.get(f"/x/y/{place}")
        print(place, response.status_code, len(response.content))
        open(f"/tmp/look/{place.replace('/', '_') or 'overview'}.html", "wb").write(
            response.content.replace(b"/static/kck_flow/", b"/work/metrics/kck_flow/static/kck_flow/")
        )
        for face in ("json", "csv", "svg"):
            if place:
                other = client.get(f"/x/y/{place}.{face}")
                print(
                    "  ",
                    face,
                    other.status_code,
                    (b"".join(other.streaming_content) if other.streaming else other.content)[:150],
                )
