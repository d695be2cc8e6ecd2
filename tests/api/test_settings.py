"""Settings of the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from kck_flow import conf


@pytest.mark.parametrize(
    "origin", ["*", "https://example.org/", "example.org", "https://*.example.org", "null", 7]
)
def test_an_origin_is_written_as_a_browser_does(origin: Any) -> None:
    with override_settings(KCK_FLOW={"CORS_ORIGINS": [origin]}):
        assert [repr(origin) in one for one in conf.problems()] == [True]
    with override_settings(KCK_FLOW={"CORS_ORIGINS": ["https://example.org", "http://localhost:3000"]}):
        assert conf.problems() == []
