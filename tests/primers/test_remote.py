"""Imports, and what is made from them, through the cache: kept, asked for again, and served when their server fails."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from threading import Event
from typing import Any

import pytest
from django.db import connections
from django.test import TestCase, override_settings

from kck_flow import Cache, Key, On, Primer, StringParameter, every
from kck_flow.errors import ComputeFailed
from kck_flow.mistakes import problems
from kck_flow.primer import names_of
from kck_flow.testing import Clock, assert_computes, count_computes, freeze_time, registered, run_worker
from primers import remote
from primers.remote import Document, WrongAddress, WrongContent
from tests.primers.loopback import Loopback

RATES = "currency,rate,day\nUSD,1.0810,2026-01-30\nJPY,167.20,2026-01-30\n"
LATER = RATES.replace("1.0810", "1.0900")


class Rate(Primer):
    """What a euro costs in one currency."""

    key_base = "rate"
    parameters = [StringParameter("currency")]
    depends_on = [On("rates", then="refresh")]

    def compute(self, key: Key) -> Any:
        rates = {row["currency"]: row["rate"] for row in remote.rows("rates")}
        return rates.get(key.params["currency"])


def rates_at(url: str, **attributes: Any) -> type[remote.CSVImport]:
    declared = {
        "key_base": "rates",
        "url": url,
        "types": {"rate": Decimal, "day": date.fromisoformat},
        "jitter": 0,
    }
    return type("Rates", (remote.CSVImport,), {**declared, **attributes})


# -- an import and what is made from it, in a TestCase -----------------------------------------------------------


class Story(TestCase):
    """The worked example of the module's docstring, step by step."""

    def setUp(self) -> None:
        self.server = self.enterContext(Loopback())
        self.server.publish("/rates.csv", RATES, etag='"1"', last_modified="Fri, 30 Jan 2026 16:00:00 GMT")
        self.enterContext(registered(rates_at(self.server.url("/rates.csv"), backoff=timedelta(0)), Rate))
        self.cache = Cache.get_instance()

    def asked(self) -> list[str | None]:
        return [asked.headers.get("If-None-Match") for asked in self.server.asked]

    def test_whoever_asks_first_imports(self) -> None:
        assert self.cache.get("rate/USD") == Decimal("1.0810")
        assert self.cache.get("rate/JPY") == Decimal("167.20")
        assert self.cache.get("rate/EUR") is None
        assert self.asked() == [None]
        assert remote.rows("rates")[0] == {
            "currency": "USD",
            "rate": Decimal("1.0810"),
            "day": date(2026, 1, 30),
        }

    def test_where_nothing_is_new_value_and_version_stay_and_nobody_is_woken(self) -> None:
        before = self.cache.get_entry("rates")
        self.cache.get("rate/USD")
        run_worker()  # the first import has told all of its readers, the one just computed too
        after = self.cache.refresh("rates")
        assert self.asked() == [None, '"1"']
        assert self.server.asked[1].headers["If-Modified-Since"] == "Fri, 30 Jan 2026 16:00:00 GMT"
        assert (after.value, after.version) == (before.value, before.version)
        assert after.computed_at > before.computed_at
        with assert_computes(0, "rate"):
            run_worker(["rate"])

    def test_the_same_rows_with_another_date_on_them_wake_nobody_either(self) -> None:
        before = self.cache.get_entry("rates")
        self.cache.get("rate/USD")
        run_worker()  # the first import has told all of its readers, the one just computed too
        self.server.publish("/rates.csv", RATES, etag='"2"')
        after = self.cache.refresh("rates")
        assert (after.value, after.version) == (before.value, before.version)
        with assert_computes(0, "rate"):
            run_worker(["rate"])

    def test_what_is_made_from_it_follows_and_keeps_its_version_where_its_own_value_is_the_same(self) -> None:
        self.cache.get_many(["rate/USD", "rate/JPY"])
        self.server.publish("/rates.csv", LATER, etag='"2"')
        self.cache.refresh("rates")
        assert self.cache.get("rate/USD") == Decimal("1.0900")
        assert [self.cache.get_entry(key).version for key in ("rate/USD", "rate/JPY")] == [2, 1]
        assert self.asked() == [None, '"1"']

    def test_an_import_reads_itself_and_yet_does_not_depend_on_itself(self) -> None:
        self.cache.get("rate/USD")
        self.server.publish("/rates.csv", LATER, etag='"2"')
        self.cache.refresh("rates")
        around = self.cache.explain("rates")
        assert around["needs"] == []
        assert [edge["key"] for edge in around["feeds"]] == ["rate/USD"]
        assert self.cache.get_entry("rates").state == "fresh"

    def test_a_failed_import_leaves_everything_as_it_was(self) -> None:
        self.cache.get("rate/USD")
        before = self.cache.get_entry("rates")
        self.server.give("/rates.csv", "<html>down</html>", status=503, content_type="text/html")
        with pytest.raises(ComputeFailed) as raised:
            self.cache.refresh("rates")
        assert re.search(
            r"^WrongStatus: http://127\.0\.0\.1:\d+/rates\.csv answered 503 ", raised.value.cause
        )
        assert isinstance(raised.value.__cause__, remote.WrongStatus)
        after = self.cache.get_entry("rates")
        assert (after.value, after.version) == (before.value, before.version)
        assert self.cache.get("rate/USD") == Decimal("1.0810")
        self.server.publish("/rates.csv", LATER, etag='"2"')
        assert self.cache.refresh("rates").version == before.version + 1

    def test_what_was_invalidated_is_fetched_whole(self) -> None:
        self.cache.get("rates")
        self.cache.invalidate("rates")
        self.cache.get("rates")
        assert self.asked() == [None, None]


@pytest.mark.django_db
def test_another_url_is_another_document(server: Loopback, kck_cache: Cache) -> None:
    server.publish("/old.csv", RATES, etag='"1"')
    server.publish("/new.csv", LATER, etag='"1"')
    with registered(rates_at(server.url("/old.csv"))):
        kck_cache.get("rates")
    with registered(rates_at(server.url("/new.csv"))):
        assert kck_cache.refresh("rates").value["rows"][0]["rate"] == Decimal("1.0900")
    assert "If-None-Match" not in server.asked[1].headers


@pytest.mark.django_db
def test_a_new_version_of_the_primer_reads_the_document_again(server: Loopback, kck_cache: Cache) -> None:
    server.publish("/rates.csv", RATES, etag='"1"')
    with registered(rates_at(server.url("/rates.csv"))):
        kck_cache.get("rates")
    with registered(rates_at(server.url("/rates.csv"), types={"rate": float}, version=2)):
        assert remote.rows("rates")[0] == {"currency": "USD", "rate": 1.081, "day": "2026-01-30"}
    assert "If-None-Match" not in server.asked[1].headers


# -- by the clock ----------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Iterator[Clock]:
    with freeze_time("2026-01-30T12:00:00+00:00") as frozen:
        yield frozen


@pytest.mark.django_db
def test_the_last_good_import_is_served_while_its_server_is_down_and_not_for_ever(
    server: Loopback, kck_cache: Cache, clock: Clock
) -> None:
    server.give("/rates.csv", RATES)
    hours = {"hard_expire": timedelta(hours=3), "stale_if_error": timedelta(hours=6), "backoff": timedelta(0)}
    with registered(rates_at(server.url("/rates.csv"), **hours)):
        good = kck_cache.get("rates")
        server.give("/rates.csv", status=500)

        clock.move(hours=2, minutes=30)  # past the soft expiry
        entry = kck_cache.get_entry("rates")
        assert (entry.value, entry.state) == (good, "stale")

        clock.move(hours=2)  # past the hard one: the read itself tries, and fails
        entry = kck_cache.get_entry("rates")
        assert (entry.value, entry.state) == (good, "failed")
        assert len(server.asked) == 2

        clock.move(hours=6)  # longer than a failing import may be served
        with pytest.raises(ComputeFailed, match="WrongStatus"):
            kck_cache.get("rates")

        server.give("/rates.csv", LATER)
        clock.move(minutes=1)
        assert kck_cache.get_entry("rates").state == "fresh"
        assert remote.rows("rates")[0]["rate"] == Decimal("1.0900")


@pytest.mark.django_db
def test_a_server_that_is_down_is_not_asked_by_each_reader(server: Loopback, kck_cache: Cache) -> None:
    server.give("/rates.csv", status=500)
    with registered(rates_at(server.url("/rates.csv"), backoff=timedelta(minutes=1))):
        for _ in range(5):
            with pytest.raises(ComputeFailed, match="WrongStatus"):
                kck_cache.get("rates")
    assert len(server.asked) == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_imports_each_hour_and_what_is_made_from_it_follows(
    server: Loopback, kck_cache: Cache, clock: Clock
) -> None:
    server.publish("/rates.csv", RATES, etag='"1"')
    with registered(rates_at(server.url("/rates.csv"), schedule=every(hours=1)), Rate):
        run_worker()
        clock.move(hours=1, minutes=1)
        assert run_worker().keys == ["rates"]
        assert kck_cache.get("rate/USD") == Decimal("1.0810")
        imports = len(server.asked)

        clock.move(hours=1)
        ran = run_worker()
        assert (ran.keys, ran.outcomes) == (["rates"], ["unchanged"])
        assert len(server.asked) == imports + 1

        server.publish("/rates.csv", LATER, etag='"2"')
        clock.move(hours=1)
        ran = run_worker()
        assert (ran.keys, ran.outcomes) == (["rates", "rate/USD"], ["done", "done"])
        assert kck_cache.get_entry("rate/USD").value == Decimal("1.0900")
        assert len(server.asked) == imports + 2


@pytest.mark.django_db(transaction=True)
@override_settings(KCK_FLOW={"REFRESH_IN_PROCESS": False})  # as where a worker lives
def test_what_is_made_from_an_import_is_served_until_it_is_refreshed(
    server: Loopback, kck_cache: Cache
) -> None:
    server.publish("/rates.csv", RATES, etag='"1"')
    with registered(rates_at(server.url("/rates.csv")), Rate):
        kck_cache.get("rates")
        kck_cache.get_many(["rate/USD", "rate/JPY"])
        run_worker()
        server.publish("/rates.csv", LATER, etag='"2"')
        with count_computes() as computed:
            kck_cache.refresh("rates")
            stale = kck_cache.get_entry("rate/USD")
            assert (stale.value, stale.state) == (Decimal("1.0810"), "stale")
            assert computed.counts == {"rates": 1}
            assert sorted(run_worker().keys) == ["rate/JPY", "rate/USD"]
            fresh = kck_cache.get_entry("rate/USD")
            assert (fresh.value, fresh.state) == (Decimal("1.0900"), "fresh")
            assert computed.counts == {"rates": 1, "rate/USD": 1, "rate/JPY": 1}


@pytest.mark.django_db(transaction=True)
def test_a_worker_tries_again_after_its_back_off_and_then_waits_for_the_next_hour(
    server: Loopback, kck_cache: Cache, clock: Clock
) -> None:
    server.publish("/rates.csv", RATES, etag='"1"')
    kept = {"retries": 2, "backoff": timedelta(minutes=1)}
    with registered(rates_at(server.url("/rates.csv"), **kept), Rate):
        run_worker()
        clock.move(hours=1, minutes=1)
        run_worker()
        good = kck_cache.get_entry("rates")
        assert kck_cache.get("rate/USD") == Decimal("1.0810")

        server.give("/rates.csv", "{", content_type="text/html")
        clock.move(hours=1)
        outcomes = []
        for _ in range(40):
            outcomes += run_worker().outcomes
            clock.move(minutes=1)
        assert outcomes == ["failed"] * 3, "the first, and two retries"
        entry = kck_cache.get_entry("rates", wait=0)
        assert (entry.value, entry.version) == (good.value, good.version)
        told = kck_cache.explain("rates")["slot"]["last_error"]
        assert told.startswith("WrongContent: http://127.0.0.1:")

        server.publish("/rates.csv", LATER, etag='"2"')
        clock.move(minutes=30)
        assert run_worker().keys == ["rates", "rate/USD"]
        assert kck_cache.get("rate/USD") == Decimal("1.0900")


@pytest.mark.django_db(transaction=True)
def test_many_readers_import_once(server: Loopback, kck_cache: Cache) -> None:
    asked, answer = Event(), Event()

    def slow(handler: Any) -> None:
        asked.set()
        answer.wait(10)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(RATES) + RATES.encode())

    def read() -> Any:
        try:
            return kck_cache.get("rates")["rows"]
        finally:
            connections.close_all()

    server.answer("/rates.csv", slow)
    with registered(rates_at(server.url("/rates.csv"))), ThreadPoolExecutor(4) as readers:
        reading = [readers.submit(read) for _ in range(4)]
        assert asked.wait(10)
        answer.set()
        found = [one.result() for one in reading]
    assert found[0][0]["rate"] == Decimal("1.0810")
    assert found == found[:1] * 4
    assert len(server.asked) == 1


# -- addresses, headers, bounds: what a declaration says of them reaches the server ----------------------------


@pytest.mark.django_db
def test_parameters_become_part_of_the_url_and_cannot_leave_their_part(
    server: Loopback, kck_cache: Cache
) -> None:
    class Station(remote.JSONImport):
        key_base = "station"
        parameters = [StringParameter("name")]
        schedule = None
        url = server.url("/stations/{name}.json?full=1")

    server.give("/stations/a%2F..%2F%3Fb%3D%23%C3%BC.json", "1", content_type="application/json")
    with registered(Station):
        assert remote.rows(kck_cache.build_key("station", name="a/../?b=#ü")) == 1
        for name in (".", ".."):
            with pytest.raises(ComputeFailed, match="cannot be part of a URL") as raised:
                kck_cache.get(kck_cache.build_key("station", name=name))
            assert isinstance(raised.value.__cause__, WrongAddress)
    assert [asked.path for asked in server.asked] == ["/stations/a%2F..%2F%3Fb%3D%23%C3%BC.json?full=1"]


@pytest.mark.django_db
def test_what_a_declaration_says_is_what_the_server_hears(
    server: Loopback, other: Loopback, kck_cache: Cache
) -> None:
    class Rates(remote.CSVImport):
        key_base = "rates"
        url = server.url("/rates.csv")
        user_agent = "the bank's best customer"

        def headers(self, key: Key) -> dict[str, str]:
            return {"Authorization": f"Bearer {key}"}

    server.redirect("/rates.csv", other.url("/moved.csv"))
    other.give("/moved.csv", RATES)
    with registered(Rates):
        kck_cache.get("rates")
    [first], [second] = server.asked, other.asked
    assert first.headers["Authorization"] == "Bearer rates"
    assert "Authorization" not in second.headers
    for asked in (first, second):
        assert asked.headers["User-Agent"] == "the bank's best customer"
        assert asked.headers["Accept"].startswith("text/csv")


BOUNDS: dict[str, dict[str, Any]] = {
    "TimedOut": {"time_limit": timedelta(milliseconds=200), "url": "/hang"},
    "TooLarge": {"size_limit": 10},
    "WrongRedirect": {"redirects": 0, "url": "/moved"},
    "Truncated": {"url": "/endless"},
    "WrongStatus": {"url": "/gone"},
    "WrongAddress": {"url": "file:///etc/passwd"},
    "Unreachable": {"url": "/hangs-up"},
}


@pytest.mark.django_db
@pytest.mark.parametrize("error", BOUNDS)
def test_whatever_goes_wrong_is_named(server: Loopback, kck_cache: Cache, error: str) -> None:
    server.give("/rates.csv", RATES)
    server.hang("/hang")
    server.redirect("/moved", "/rates.csv")
    server.send("/endless", b"HTTP/1.1 200 OK\r\n\r\n" + RATES.encode())
    server.give("/gone", status=410)
    server.send("/hangs-up", b"")
    bounds = {"url": "/rates.csv", **BOUNDS[error]}
    if bounds["url"].startswith("/"):
        bounds["url"] = server.url(bounds["url"])
    with registered(rates_at(**bounds)):
        with pytest.raises(ComputeFailed) as raised:
            kck_cache.get("rates")
        assert raised.value.cause.startswith(f"{error}: ")
        assert type(raised.value.__cause__) is getattr(remote, error)
        assert not kck_cache.is_set("rates")


@pytest.mark.django_db
def test_rows_that_cannot_be_right_are_refused(server: Loopback, kck_cache: Cache) -> None:
    class Rates(remote.CSVImport):
        key_base = "rates"
        url = server.url("/rates.csv")

        def check(self, key: Key, rows: Any) -> None:
            if len(rows) < 2:
                raise WrongContent(f"{len(rows)} currencies are too few")

    server.give("/rates.csv", "currency,rate\n")
    with registered(Rates), pytest.raises(ComputeFailed, match="0 currencies are too few"):
        kck_cache.get("rates")


# -- reading a document ----------------------------------------------------------------------------------------


def read(kind: type[remote.Import], content: str | bytes, **attributes: Any) -> Any:
    primer = type("Read", (kind,), {"key_base": "read", **attributes})()
    return primer.read(
        primer.build_key(), Document("http://h/x", content.encode() if isinstance(content, str) else content)
    )


def test_json_is_what_it_says() -> None:
    assert read(remote.JSONImport, '{"a": [1, 0.1, null, "ü"]}') == {"a": [1, 0.1, None, "ü"]}
    assert read(remote.JSONImport, "\ufeff[]") == []
    assert read(remote.JSONImport, '{"data": {"items": [1]}}', path="data.items") == [1]
    assert read(remote.JSONImport, "[0.10, 1e2]", decimals=True) == [Decimal("0.10"), Decimal("1e2")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no JSON: Expecting value"),
        ("<!DOCTYPE html><html>Please sign in", "begins with '<!DOCTYPE html><html>Please sign in'"),
        ('{"a": [1, 2', "no JSON"),
        ("[NaN]", "NaN is no JSON"),
        ("[-Infinity]", "-Infinity is no JSON"),
        ("[1] [2]", "Extra data"),
        ("[" * 100_000, "no JSON"),
        ("1" * 5_000, "no JSON"),
        (b"\xff\xfe\x00", "not encoded in utf-8"),
    ],
)
def test_nonsense_is_no_json(content: str | bytes, told: str) -> None:
    with pytest.raises(WrongContent, match=told):
        read(remote.JSONImport, content)


def test_a_path_that_leads_nowhere_says_what_is_there() -> None:
    with pytest.raises(WrongContent, match=r"no 'items' on the path 'data.items'; there is 'error', 'code'"):
        read(remote.JSONImport, '{"data": {"error": "no", "code": 1}}', path="data.items")
    with pytest.raises(WrongContent, match="there is a list"):
        read(remote.JSONImport, "[]", path="data")


def test_a_table_is_a_dict_for_each_line() -> None:
    assert read(remote.CSVImport, '\ufeffname, price\r\n"a ""b"", c",1\r\n\r\n"two\nlines",\r\n') == [
        {"name": 'a "b", c', "price": "1"},
        {"name": "two\nlines", "price": ""},
    ]
    assert read(remote.CSVImport, "name,price\n") == []


def test_a_table_in_another_dialect() -> None:
    class Quoted(csv.excel):
        delimiter = ";"
        quotechar = "'"

    assert read(remote.CSVImport, "1;'a;b'\n", dialect=Quoted, header=["id", "name"]) == [
        {"id": "1", "name": "a;b"}
    ]
    assert read(remote.CSVImport, "id\tname\n1\ta\n", dialect="excel-tab") == [{"id": "1", "name": "a"}]
    assert read(remote.CSVImport, "id|name\n1|a\n", delimiter="|") == [{"id": "1", "name": "a"}]
    assert read(remote.CSVImport, "näme\nü\n".encode("latin-1"), encoding="latin-1") == [{"näme": "ü"}]


def test_columns_have_types_and_nothing_is_none() -> None:
    types = {"price": Decimal, "on": date.fromisoformat}
    assert read(remote.CSVImport, "name,price,on\na,1.10,2026-01-31\nb,,\n", types=types) == [
        {"name": "a", "price": Decimal("1.10"), "on": date(2026, 1, 31)},
        {"name": "b", "price": None, "on": None},
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "line 1: the columns must have names"),
        ("<!doctype html>\n<html>", "sent no table"),
        ("  <HTML><body>", "sent no table"),
        ("name,price,\na,1,\n", "line 1: the columns must have names"),
        ("price,price\n1,2\n", "each its own"),
        ("name,cost\na,1\n", "line 1: there is no column 'price'; there are 'name', 'cost'"),
        ("name,price\na,1\nb\n", "line 3: 1 values for 2 columns"),
        ("name,price\na,1,2\n", "line 2: 3 values for 2 columns"),
        ("name,price\na,1\nb,cheap\n", "line 3: price is 'cheap', which Decimal does not take"),
        ('name,price\na,1\n"b,2\n', "line 3: unexpected end of data"),
        ('name,price\n"a"b,1\n', "line 2: "),
        (b"name,price\n\xe4,1\n", "not encoded in utf-8"),
        (f"name,price\n{'a' * 200_000},1\n", "line 2: field larger than"),
    ],
)
def test_nonsense_is_no_table(content: str | bytes, told: str) -> None:
    with pytest.raises(WrongContent, match=told):
        read(remote.CSVImport, content, types={"price": Decimal})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "content_type", "body", "good"),
    [
        (remote.JSONImport, "application/json", "[]", True),
        (remote.JSONImport, "application/geo+json; charset=utf-8", "[]", True),
        (remote.JSONImport, None, "[]", True),
        (remote.JSONImport, "text/html", "[]", False),
        (remote.CSVImport, "text/csv; header=present", "a\n", True),
        (remote.CSVImport, "text/plain", "a\n", True),
        (remote.CSVImport, "text/html", "a\n", False),
        (remote.CSVImport, "application/json", "[]", False),
    ],
)
def test_what_it_claims_to_be_is_looked_at_first(
    server: Loopback,
    kck_cache: Cache,
    kind: type[remote.Import],
    content_type: str | None,
    body: str,
    good: bool,
) -> None:
    server.give("/x", body, content_type=content_type)
    with registered(type("Claims", (kind,), {"key_base": "claims", "url": server.url("/x")})):
        if good:
            assert remote.rows("claims") == []
        else:
            with pytest.raises(ComputeFailed, match=f"sent {content_type}, not "):
                kck_cache.get("claims")


# -- declarations ----------------------------------------------------------------------------------------------


def test_importing_declares_nothing_and_a_name_declares() -> None:
    for ready in (remote.Import, remote.JSONImport, remote.CSVImport):
        assert names_of(ready) == ()
    assert problems(rates_at("http://h/")) == []
