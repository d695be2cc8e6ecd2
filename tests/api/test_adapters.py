"""Products in Ninja's and REST framework's APIs: the same answers as at their own address, to the same people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from rest_framework import serializers

from kck_flow import Cache, IntegerParameter, Primer
from kck_flow.contrib.drf import ProductField
from kck_flow.testing import freeze_time, registered
from tests.api.conftest import NOW, ROOT
from tests.shop.models import Author

pytestmark = pytest.mark.django_db
PLACES = ("/ninja/flow", "/drf")


class Penned(Primer):
    """How long an author's name is."""

    key_base = "a_penned"
    parameters = [IntegerParameter("author")]

    def compute(self, key: Any) -> Any:
        return len(Author.objects.get(pk=key.params["author"]).name)


@pytest.fixture(autouse=True)
def adapted(api: Any) -> Any:
    with override_settings(ROOT_URLCONF="tests.api.adapter_urls"), freeze_time(NOW):
        yield


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "asked",
    [
        "products/a_plain",
        "products/a_otherwise%2F5",
        "products/a_typed",
        "products/p_signups?range=7d&by=day&limit=3",
        "products/a_plain?rnage=7d",
        "products/p_signups?by=fortnight",
        "products/nothing_at_all",
        "products?q=a_&limit=2",
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_an_answer_is_that_of_the_products_own_address(
    client: Client, place: str, asked: str, accept: str
) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    headers = {"Accept": accept, "X-Name": "staff"}
    path, _, query = asked.partition("?")
    face = ".csv" if accept == "text/csv" else ".json"
    client.get(f"{ROOT}/{path}{face}?{query}")  # what is missing or stale is wanted from then on
    own = client.get(f"{ROOT}/{path}{face}?{query}")
    theirs = Client().get(f"{place}/{asked}", headers=headers)
    if place == "/ninja/flow" and "fortnight" in asked:  # Ninja says itself what is none of its choices
        assert theirs.status_code == 422
        return
    assert theirs.status_code == own.status_code
    assert body(theirs).replace(f"{place}/", f"{ROOT}/".replace("//", "/")) == body(own).replace(face, "")
    for name in ("Content-Type", "ETag", "Cache-Control"):
        assert theirs.headers.get(name) == own.headers.get(name), name
    if own.status_code == 200 and "ETag" in own.headers:
        known = Client().get(f"{place}/{asked}", headers={**headers, "If-None-Match": own["ETag"]})
        assert known.status_code == 304
        assert not known.content


def body(response: Any) -> str:
    return (b"".join(response.streaming_content) if response.streaming else response.content).decode()  # type: ignore[no-any-return]


@pytest.mark.parametrize("place", PLACES)
def test_who_may_see_a_product_is_asked_of_whom_their_authentication_finds(place: str) -> None:
    User.objects.create_user("staff2", is_staff=True)
    User.objects.create_user("other")
    got = {
        (name, key): Client().get(f"{place}/products/{key}", headers={"X-Name": name}).status_code
        for name in ("", "other", "staff2")
        for key in ("a_plain", "a_typed", "a_otherwise")
    }
    assert got == {
        ("", "a_plain"): 200, ("", "a_typed"): 401, ("", "a_otherwise"): 401,
        ("other", "a_plain"): 200, ("other", "a_typed"): 200, ("other", "a_otherwise"): 403,
        ("staff2", "a_plain"): 200, ("staff2", "a_typed"): 200, ("staff2", "a_otherwise"): 200,
    }  # fmt: skip


def test_ninjas_document_says_what_comes() -> None:
    told = json.loads(Client().get("/ninja/openapi.json").content)
    answers = told["paths"]["/ninja/flow/products/{key}"]["get"]["responses"]
    assert {"200", "400", "401", "403", "404", "503"} <= set(answers)
    assert {"Value", "Rows", "Problem", "Meta"} <= set(told["components"]["schemas"])
    named = {one["name"] for one in told["paths"]["/ninja/flow/products/{key}"]["get"]["parameters"]}
    assert {"key", "range", "from", "to", "by", "limit", "next"} <= named


def test_a_serializer_shows_a_product_of_each_object_and_reads_all_at_once(rf: Any) -> None:
    class Authors(serializers.ModelSerializer):
        letters = ProductField("a_penned", author="pk")

        class Meta:
            model = Author
            fields = ["name", "letters"]

    request = rf.get("/")
    with registered(Penned):
        authors = [Author.objects.create(name="a" * n) for n in range(1, 6)]
        for author in authors:
            Cache.get_instance().get(f"a_penned/{author.pk}")
        request.user = User(username="s", is_staff=True)
        context = {"request": request}
        with CaptureQueriesContext(connection) as of_one:
            assert len(Authors(Author.objects.filter(pk=authors[0].pk), many=True, context=context).data) == 1
        with CaptureQueriesContext(connection) as of_five:
            shown = Authors(Author.objects.order_by("pk"), many=True, context=context).data
        assert [one["letters"] for one in shown] == [1, 2, 3, 4, 5]
        assert len(of_five) == len(of_one) == 2
        assert Authors(authors[2], context={"request": request}).data["letters"] == 3
        request.user = User(username="n")
        assert Authors(authors[2], context={"request": request}).data["letters"] is None
        gone = Author(pk=0, name="gone")
        request.user = User(username="s", is_staff=True)
        assert Authors([gone, authors[0]], many=True, context={"request": request}).data[0]["letters"] is None


def test_the_package_asks_for_neither() -> None:
    program = (
        "import sys, django; django.setup(); import kck_flow.urls; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'ninja', 'rest_framework', 'pydantic'}))"
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env
    )
    assert told.stdout.strip() == ""
