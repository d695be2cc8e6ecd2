"""The OpenAPI document: valid, complete, and true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from django.urls import URLPattern

from kck_flow import urls

from .conftest import ROOT, somebody

pytestmark = pytest.mark.django_db


def test_the_document_is_valid(api: Any, client: Client, staff: Any) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    document = client.get(f"{ROOT}/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    validator.validate(document)


def test_it_tells_what_its_reader_may_see(api: Any, client: Client) -> None:
    paths = client.get(f"{ROOT}/openapi.json").json()["paths"]
    assert "/products/a_plain.json" in paths
    assert not [path for path in paths if "a_kept" in path or "a_secret" in path or "a_tenant" in path]
    client.force_login(somebody("of7", first_name="None", is_staff=True))
    paths = client.get(f"{ROOT}/openapi.json").json()["paths"]
    assert paths["/products/a_tenant/{customer}.json"]["get"]["parameters"][0]["schema"] == {
        "type": "integer"
    }
    assert "/metrics/p_signups.json" in paths


def test_every_operation_is_marked_and_tells_its_refusals(api: Any, client: Client, staff: Any) -> None:
    document = client.get(f"{ROOT}/openapi.json").json()
    seen = set()
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            assert operation["x-unstable"] is True, path
            assert operation["operationId"] not in seen
            seen.add(operation["operationId"])
            assert {"500", "400"} <= set(operation["responses"]), path
            if verb != "get":
                assert {"401", "403", "404", "503"} <= set(operation["responses"]), path


def test_every_address_is_told(api: Any, client: Client, staff: Any) -> None:
    paths = client.get(f"{ROOT}/openapi.json").json()["paths"]
    told = {path.strip("/").split("/")[0].split(".")[0] for path in paths}
    have = {one.name for one in urls.urlpatterns if isinstance(one, URLPattern)}
    places = {"index": "overview", "dashboard": "dashboards", "process": "processes", "metric": "metrics",
              "product": "products", "frame": "frames", "link": "links"}  # fmt: skip
    assert {places.get(name, name) for name in have} == told


@pytest.fixture
def wsgi() -> Iterator[WSGIHandler]:
    """The project as a server runs it, on the test's own connection, which stays open."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield WSGIHandler()
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.mark.once("newest")
def test_nothing_disagrees_with_it(api: Any, db: Any, wsgi: WSGIHandler, settings: Any) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    settings.ALLOWED_HOSTS = ["*"]
    from hypothesis import HealthCheck, Phase, given
    from hypothesis import settings as effort
    from schemathesis.checks import CHECKS

    somebody("writer", "refresh", "invalidate", "write", "share", is_staff=True)
    headers = {"Authorization": "Bearer of-writer"}
    document = schemathesis.openapi.from_wsgi(f"{ROOT}/openapi.json", wsgi, headers=headers)
    checks = CHECKS.get_by_names(
        [
            "status_code_conformance",
            "content_type_conformance",
            "response_schema_conformance",
            "response_headers_conformance",
        ]
    )
    tried = 0
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.tags and "/a_" not in operation.path:
            continue  # another product of its kind

        @effort(
            max_examples=10,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def agree(case: Any) -> None:
            response = case.call_and_validate(headers=headers, checks=checks)
            assert response.status_code != 500, case.as_curl_command()

        agree()
        tried += 1
    assert tried >= 20
