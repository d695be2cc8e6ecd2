"""A million rows as CSV, in little memory (experience §10, 19)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from kck_flow.testing import freeze_time
from tests.api.conftest import NOW, ROOT
from tests.api.test_series import record

MILLION = 1_000_000
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.once("oldest"),
    pytest.mark.skipif(not FORGET.exists(), reason="Linux alone tells a process its peak since an instant."),
]


def peak() -> int:
    """Return the most memory that this process has had since it was last forgotten, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


def streamed(client: Client, address: str) -> tuple[int, int]:
    """Return (how many lines came, by how many bytes the process has grown meanwhile)."""
    FORGET.write_text("5")
    before, lines = peak(), 0
    response: Any = client.get(address)
    assert response.status_code == 200
    for part in response.streaming_content:
        lines += part.count(b"\r\n")
    return lines, peak() - before


def test_a_million_rows_are_streamed_in_less_than_a_hundred_megabytes(
    api: Any, client: Client, admin_client: Client, staff: Any
) -> None:
    with freeze_time(NOW):
        record(MILLION, days=700)
        lines, grown = streamed(client, f"{ROOT}/products/a_kept.csv?from=2024-01-01")
        assert lines == MILLION + 1
        assert grown < 100_000_000
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO shop_customer (name, country) VALUES ('x', 'FR') RETURNING id")
            (customer,) = cursor.fetchone()
            cursor.execute(
                "INSERT INTO shop_order (customer_id, state, cents) SELECT %s, 'open', n FROM generate_series(1, %s) n",
                [customer, MILLION // 10],
            )
        lines, grown = streamed(admin_client, f"{ROOT}/members/a_open.csv")
        assert lines == MILLION // 10 + 1
        assert grown < 100_000_000
