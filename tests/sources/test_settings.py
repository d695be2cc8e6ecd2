"""KCK_FLOW["SOURCES"]: made by name, and told of where it is wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from kck_flow import sources
from kck_flow.errors import DeclarationError
from kck_flow.message import Source
from kck_flow.sources.amqp import AMQP
from tests.harness.daemons import ROOT

GOOD = {"source": "kck_flow.sources.amqp.AMQP", "url": "amqp://broker/", "queue": "orders"}
ENTRIES = {"source": "kck_flow.sources.redis_streams.RedisStreams", "url": "redis://x", "stream": "s"}
SENDERS = {"till": {"token": "0123456789abcdef", "topics": ["orders.*"]}}


class Own(Source):
    """A source of a project's own, which takes nothing."""

    def open(self, position=None):
        pass

    def fetch(self, most, timeout):
        return []

    def ack(self, batch):
        pass

    def nack(self, batch, delay=None):
        pass


def _told(given: object) -> list[str]:
    with override_settings(KCK_FLOW={"SOURCES": given}):
        return [
            f"{found.id}: {found.msg}" for found in run_checks(tags=["kck"]) if found.id == "kck_flow.E004"
        ]


def test_a_source_is_made_by_its_name() -> None:
    with override_settings(
        KCK_FLOW={"SOURCES": {"orders": {**GOOD, "key": "customer"}, "own": {"source": Own}}}
    ):
        made = sources.make("orders")
        assert isinstance(made, AMQP)
        assert (made.name, made.queue) == ("orders", "orders")
        assert made is not sources.make("orders")
        assert sources.make("own").name == "own"


def test_what_is_sent_to_is_not_fetched_from() -> None:
    web = {"source": "kck_flow.sources.http.HTTP", "senders": SENDERS}
    with override_settings(KCK_FLOW={"SOURCES": {"orders": GOOD, "web": web}}):
        assert sources.to_fetch() == ["orders"]


def test_nothing_is_wrong_with_good_ones() -> None:
    assert _told({"orders": GOOD, "own": {"source": Own}}) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["orders"], "must be dict"),
        ({"": GOOD}, "its name must be a text"),
        ({"o" * 20_000: GOOD}, "a name has at most 200 characters, not 20,000"),
        ({"orders": "amqp://"}, "must be a dict with a 'source'"),
        ({"orders": {"url": "x"}}, "has no 'source'"),
        ({"orders": {"source": "kck_flow.sources.amqp.AMQ"}}, "'kck_flow.sources.amqp.AMQ' cannot be found"),
        ({"orders": {"source": "nowhere.at.All"}}, "cannot be found"),
        ({"orders": {"source": "kck_flow.sources.make"}}, "is no class"),
        (
            {"orders": {**GOOD, "queu": 1}},
            r"an option 'queu', and AMQP takes none of that name. Did you mean 'queue'\?",
        ),
        ({"own": {"source": Own, "url": 1}}, "Own takes none of that name"),
        ({"orders": {"source": GOOD["source"], "url": "x"}}, "lacks the option 'queue', without which AMQP"),
    ],
)
def test_what_is_wrong_is_a_check_that_names_it(given: object, told: str) -> None:
    (found,) = _told(given)
    assert found.startswith("kck_flow.E004: KCK_FLOW['SOURCES']")
    assert re.search(told, found), found


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("ordes", {"orders": GOOD}, r"has no source 'ordes'. Did you mean 'orders'\?"),
        ("x", {}, "There are: none"),
        ("orders", {"orders": {**GOOD, "queu": 1}}, "Did you mean 'queue'"),
        ("orders", {"orders": {**GOOD, "url": "redis://x"}}, r"\['orders'\]: url must begin with amqp://"),
        ("orders", {"orders": {**GOOD, "routing_keys": "a"}}, "routing_keys must be a list of texts"),
        ("orders", {"orders": {**GOOD, "heartbeat": 0}}, "at least 1 second"),
        (
            "entries",
            {"entries": {**ENTRIES, "claim_after": 5}},
            "claim_after must be a timedelta",
        ),
        (
            "n",
            {"n": {"source": "kck_flow.sources.nats.NATS", "url": "nats://x", "stream": "s", "start": "first"}},
            "start must be 'all' or 'new'",
        ),
        (
            "n",
            {"n": {"source": "kck_flow.sources.nats.NATS", "url": "nats://x", "stream": "a.b"}},
            "stream is a name without dots",
        ),
        ("web", {"web": {"source": "kck_flow.sources.http.HTTP", "senders": {}}}, "senders names nobody"),
    ],
)  # fmt: skip
def test_making_tells_what_is_wrong(name: str, given: dict, told: str) -> None:
    with override_settings(KCK_FLOW={"SOURCES": given}), pytest.raises(DeclarationError, match=told):
        sources.make(name)


@pytest.mark.parametrize(
    ("library", "extra", "make"),
    [
        ("kombu", "amqp", "from kck_flow.sources.amqp import AMQP as S; S('amqp://x', 'q')"),
        (
            "redis",
            "redis",
            "from kck_flow.sources.redis_streams import RedisStreams as S; S('redis://x', 's')",
        ),
        ("nats", "nats", "from kck_flow.sources.nats import NATS as S; S('nats://x', 's')"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(library: str, extra: str, make: str) -> None:
    imports, _, call = make.partition("; ")
    code = f"import sys; sys.modules[{library!r}] = None; {imports}; print('imported'); {call}"
    ran = subprocess.run(
        [sys.executable, "-c", f"import django; from django.conf import settings; settings.configure(); {code}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout == "imported\n"
    assert f"This source needs {library}" in ran.stderr
    assert f"pip install 'kck-flow[{extra}]'" in ran.stderr
