"""A history that is asked for page by page, and all that may go wrong on the way. Rows 138, 192."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kck_flow import Message
from kck_flow.testing.streams import StreamConformance
from primers.fetching import RemoteError, TimedOut, WrongAddress, WrongContent, WrongStatus
from primers.history import Cursors, HTTPHistory, Moved, NextLinks, PageNumbers, Unreadable
from tests.primers.archive import Archive, Fault, begin, failing
from tests.primers.loopback import Loopback

T = datetime(2026, 1, 31, 23, 59, 59, 999_990, tzinfo=UTC)
HOUR = timedelta(hours=1)
BEGINS = datetime(2026, 1, 30, tzinfo=UTC)
STYLES = {
    "numbers": PageNumbers(),
    "numbers-of-pages": PageNumbers(pages="meta.pages"),
    "links": NextLinks(),
    "cursors": Cursors(),
}
QUICK = {"pause": timedelta(milliseconds=1), "time_limit": timedelta(seconds=5), "step": timedelta(days=30)}


def history(archive: Archive, style: str = "numbers", **options: Any) -> HTTPHistory:
    given = {
        "name": "log",
        "begins": BEGINS,
        "pages": STYLES[style],
        "total": "meta.total",
        **QUICK,
        **options,
    }
    return HTTPHistory(archive.url, **given)


@pytest.fixture
def archive(server: Loopback) -> Archive:
    return Archive(server)


def ids(stream: Any, start: datetime = BEGINS, end: datetime = T + 1000 * HOUR, **options: Any) -> list[str]:
    return [item["id"] for _, item in stream.read(start, end, **options)]


def fill(archive: Archive, number: int = 20) -> list[str]:
    for one in range(number):
        archive.put(T + one * timedelta(minutes=7), f"i{one:03}")
    return [f"i{one:03}" for one in range(number)]


# -- the laws of all streams ---------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
class TestHistory(StreamConformance):
    deletes = False

    @pytest.fixture(autouse=True)
    def _with(self, archive: Archive, style: str, newest_first: bool) -> None:
        self.archive, self.style = archive, style
        archive.newest_first = newest_first

    def empty(self) -> HTTPHistory:
        # Steps of another length than what the tests read at once.
        return history(self.archive, self.style, step=timedelta(seconds=1))

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        self.archive.put(at, mark)

    def mark_of(self, item: Any) -> str:
        return item["id"]

    def remove(self, stream: Any, mark: str) -> None:
        self.archive.remove(mark)


class TestUnixWithoutTotal(TestHistory):
    """Bounds in whole seconds, and nothing said of how many there are."""

    def empty(self) -> HTTPHistory:
        return history(self.archive, self.style, spelled="unix", total="", settles=timedelta(minutes=5))


# -- what goes wrong -----------------------------------------------------------------------------------------


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.6)


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    handler.connection.close()


def half(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, 200, {"Content-Type": "application/json", "Content-Length": "500"})
    handler.wfile.write(b'{"items": [')
    handler.close_connection = True


def page_of_a_proxy(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, 200, {"Content-Type": "text/html", "Content-Length": "14"})
    handler.wfile.write(b"<html>Sorry</>")


FAULTS: dict[str, Fault] = {
    "500": failing(500),
    "502": failing(502),
    "503": failing(503, Retry_After="0"),
    "429": failing(429, Retry_After=format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)),
    "times out": hang,
    "is reset": reset,
    "breaks off": half,
    "is no JSON": page_of_a_proxy,
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("fault", FAULTS)
def test_192_an_api_that_fails_every_third_call_is_read_whole(
    archive: Archive, style: str, fault: str
) -> None:
    expected = fill(archive, 12)
    archive.fault = lambda call: FAULTS[fault] if call % 3 == 0 else None
    limit = timedelta(seconds=0.2) if fault == "times out" else timedelta(seconds=5)
    assert ids(history(archive, style, time_limit=limit)) == expected


@pytest.mark.parametrize("style", STYLES)
def test_192_a_page_that_cannot_be_had_is_an_error_and_never_left_out(archive: Archive, style: str) -> None:
    fill(archive)
    asked: dict[str, int] = {}

    def fault(call: int) -> Fault | None:
        path = archive.server.asked[-1].path
        # The third page of any step, whatever it is called.
        if "page=3" in path or "cursor=3" in path:
            asked[path] = asked.get(path, 0) + 1
            return failing(503)
        return None

    archive.fault = fault
    with pytest.raises(WrongStatus, match="503") as raised:
        ids(history(archive, style, retries=2))
    assert list(asked.values()) == [3]
    assert raised.value.__notes__ == ["It was asked for 3 times."]


def test_192_nothing_of_a_step_is_read_before_all_of_it_is_there(archive: Archive) -> None:
    for day in range(3):
        for number in range(5):
            archive.put(BEGINS + timedelta(days=day, hours=number), f"{day}.{number}")
    archive.fault = lambda call: (
        failing(500) if "since=2026-01-31T" in archive.server.asked[-1].path else None
    )
    read = history(archive, retries=1, step=timedelta(days=1)).read(BEGINS, T + 99 * HOUR)
    assert [next(read)[1]["id"] for _ in range(5)] == [f"0.{number}" for number in range(5)]
    with pytest.raises(WrongStatus):
        next(read)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_what_will_not_pass_is_not_asked_for_again(archive: Archive, status: int) -> None:
    archive.fault = lambda call: failing(status)
    with pytest.raises(WrongStatus, match=str(status)):
        ids(history(archive))
    assert archive.calls == 1


def test_it_waits_as_long_as_the_server_says(archive: Archive) -> None:
    expected = fill(archive, 2)
    archive.fault = lambda call: failing(429, Retry_After="1") if call == 1 else None
    began = time.monotonic()
    assert ids(history(archive)) == expected
    assert time.monotonic() - began >= 1.0
    archive.fault = lambda call: failing(429, Retry_After="3600")
    archive.calls = 0
    with pytest.raises(WrongStatus, match="Retry-After: 3600") as raised:
        ids(history(archive))
    assert archive.calls == 1
    assert raised.value.__notes__ == ["It is not waited for: longest_pause is 0:02:00."]


def test_it_waits_twice_as_long_each_time(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("primers.history.time.sleep", pauses.append)
    archive.fault = lambda call: failing(500)
    with pytest.raises(WrongStatus):
        ids(history(archive, pause=timedelta(seconds=1), longest_pause=timedelta(seconds=5), retries=5))
    assert [int(pause / 1.25001) + 1 for pause in pauses] == [1, 2, 4, 5, 5]
    for pause, least in zip(pauses, (1, 2, 4, 5, 5), strict=True):
        assert least <= pause <= least * 1.25


# -- pages that move -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_a_page_that_comes_twice_makes_it_be_read_again(archive: Archive, style: str) -> None:
    expected = fill(archive, 10)
    bodies: dict[int, dict[str, Any]] = {}

    def repeated(call: int, body: dict[str, Any]) -> dict[str, Any]:
        bodies[call] = body
        return {**body, "items": bodies[call - 1]["items"]} if call == 2 else body

    archive.changed = repeated
    assert ids(history(archive, style)) == expected


@pytest.mark.parametrize("style", STYLES)
def test_a_server_that_always_has_the_same_page_is_an_error(archive: Archive, style: str) -> None:
    fill(archive, 10)
    first: list[dict[str, Any]] = []

    def same(call: int, body: dict[str, Any]) -> dict[str, Any]:
        first.append(body)
        return first[0]

    archive.changed = same
    with pytest.raises(Moved, match=r"brings 'i00\d' twice|lead in a circle") as raised:
        ids(history(archive, style, rereads=2))
    assert raised.value.__notes__[0].startswith("It was read 3 times")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("newest_first", [False, True])
def test_what_is_deleted_while_it_is_read_leaves_nothing_out(
    archive: Archive, style: str, newest_first: bool
) -> None:
    """What goes from a page that has been read moves the next by one: its first item would never be seen."""
    expected = fill(archive, 10)
    archive.newest_first = newest_first
    gone = expected[-1] if newest_first else expected[0]
    archive.after = lambda call: archive.remove(gone) if call == 1 else None
    assert ids(history(archive, style)) == [id for id in expected if id != gone]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("newest_first", [False, True])
def test_what_comes_while_it_is_read_leaves_nothing_out_and_brings_nothing_twice(
    archive: Archive, style: str, newest_first: bool
) -> None:
    expected = fill(archive, 10)
    archive.newest_first = newest_first

    def put(call: int) -> None:
        if call == 1:
            archive.put(T - HOUR, "early")
            archive.put(T + 2 * HOUR, "late")

    archive.after = put
    found = ids(history(archive, style))
    assert [id for id in found if id in expected] == expected
    assert found == sorted(set(found), key=found.index)
    assert "early" in found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda call, body: {**body, "meta": {"total": 11, "pages": 4}}, "there are 11 items, and brings 10"),
        (
            lambda call, body: {**body, "meta": {"total": 20 - call, "pages": 4}},
            r"has 1\d items on page 2, and had 1\d before",
        ),
        (
            lambda call, body: {**body, "items": body["items"][:-1]},
            "there are 10 items, and brings|'i00. twice|there are 10",
        ),
    ],
)
@pytest.mark.parametrize("style", STYLES)
def test_totals_that_do_not_fit_are_an_error(
    archive: Archive, style: str, change: Callable[..., Any], told: str
) -> None:
    fill(archive, 10)
    archive.changed = change
    with pytest.raises(Moved, match=told):
        ids(history(archive, style, rereads=1))


def test_fewer_pages_than_before_are_an_error(archive: Archive) -> None:
    fill(archive, 10)
    archive.changed = lambda call, body: {**body, "meta": {"pages": 9 - call}}
    with pytest.raises(Moved, match="has fewer pages than it had when page 2 was read"):
        ids(history(archive, "numbers-of-pages", total="", rereads=1))


def test_without_totals_a_short_page_is_not_taken_for_the_last(archive: Archive) -> None:
    expected = fill(archive, 10)
    stream = history(
        archive, total="", pages=PageNumbers(size="size", per_page=100)
    )  # and gets three at once
    assert ids(stream) == expected
    assert "size=100" in archive.server.asked[0].path


# -- answers that are wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda body: {"error": "no"}, "has no 'items' on the path 'items'; there is 'error'"),
        (lambda body: {**body, "items": {"a": 1}}, "has no list at 'items', but a dict"),
        (lambda body: {**body, "items": [{"at": "2026-02-01T00:00:00Z"}]}, "has no 'id'"),
        (
            lambda body: {**body, "items": [{"id": None, "at": "2026-02-01T00:00:00Z"}]},
            "on page 1 without 'id'",
        ),
        (lambda body: {**body, "items": [{"id": 1, "at": "yesterday"}]}, "whose at is 'yesterday'"),
        (lambda body: {**body, "items": [{"id": 1, "at": True}]}, "whose at is 'True'"),
        (lambda body: {**body, "items": [{"id": 1, "at": 1e30}]}, "whose at is '1e"),
        (lambda body: {**body, "items": [{"id": 1, "at": "2026-02-01T00:00:00"}]}, "say in which zone it is"),
        (lambda body: {**body, "meta": {"total": "ten"}}, "no number at 'meta.total', but 'ten'"),
        (lambda body: {**body, "meta": {}}, "has no 'total' on the path 'meta.total'"),
    ],
)
def test_what_cannot_be_understood_is_an_error_at_once(
    archive: Archive, change: Callable[[Any], Any], told: str
) -> None:
    fill(archive, 1)
    archive.changed = lambda call, body: change(body)
    with pytest.raises(WrongContent) as raised:
        ids(history(archive))
    assert told in str(raised.value)
    assert archive.calls == 1
    assert "order=asc" not in str(raised.value)  # where tokens may stand


def test_no_json_is_an_error_after_some_tries(archive: Archive) -> None:
    archive.fault = lambda call: page_of_a_proxy
    with pytest.raises(Unreadable, match=r"sent no JSON.*<html>Sorry"):
        ids(history(archive, retries=2))
    assert archive.calls == 3


def test_a_next_page_elsewhere_is_not_asked_for(archive: Archive, other: Loopback) -> None:
    fill(archive, 10)
    other.give("/log", "{}", content_type="application/json")
    archive.changed = lambda call, body: {**body, "next": other.url("/log")}
    with pytest.raises(WrongContent, match="its next page is elsewhere"):
        ids(history(archive, "links", headers={"Authorization": "Bearer t"}))
    assert other.asked == []
    archive.changed = lambda call, body: {**body, "next": "file:///etc/passwd"}
    with pytest.raises(WrongAddress):
        ids(history(archive, "links"))


# -- stories -------------------------------------------------------------------------------------------------


def test_instants_are_text_or_seconds_with_or_without_an_offset(archive: Archive) -> None:
    at = datetime(2026, 2, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    for told, options in (
        ("2026-02-01T00:00:00.250Z", {}),
        ("2026-02-01T01:00:00.25+01:00", {}),
        ("2026-01-31T19:00:00.250", {"tz": ZoneInfo("America/New_York")}),
        (at.timestamp(), {}),
        (at.timestamp(), {"decimals": True}),
    ):
        archive.rows = []
        archive.put(at, "i")
        archive.changed = lambda call, body, told=told: {
            **body,
            "items": [{**one, "at": told} for one in body["items"]],
        }
        [((found, id), _)] = history(archive, **options).read(BEGINS, T + HOUR)
        assert (found, id) == (at, "i"), told


def test_bounds_are_asked_for_generously_and_kept_exactly(archive: Archive) -> None:
    at = datetime(2026, 2, 1, 10, 0, 0, 500_000, tzinfo=UTC)
    for number in range(-3, 4):
        archive.put(at + number * timedelta(microseconds=1), f"{number}")
    start, end = at - timedelta(microseconds=1), at + timedelta(microseconds=2)
    for options in (
        {},
        {"spelled": "unix"},
        {"margin": timedelta(seconds=3)},
        {"spelled": lambda at: at.isoformat()},
    ):
        assert ids(history(archive, **options), start, end) == ["-1", "0", "1"], options
    asked = [one.path for one in archive.server.asked]
    assert any("since=1769940000&until=1769940001" in path for path in asked)
    away = timezone(timedelta(hours=-7))
    assert ids(history(archive), start.astimezone(away), end.astimezone(away)) == ["-1", "0", "1"]


def test_a_read_that_goes_on_asks_for_no_step_twice(archive: Archive) -> None:
    expected = fill(archive, 30)
    stream = history(archive, step=timedelta(hours=1))
    end = T + 6 * HOUR
    whole = ids(stream, T, end)
    once = archive.calls
    archive.calls = 0
    found: list[str] = []
    after: Any = None
    page: list[Any] = [None] * 4
    while len(page) == 4:
        page = list(stream.read(T, end, after=after, limit=4))
        found += [item["id"] for _, item in page]
        page[-1][1]["id"] = "spoilt"  # an item is its reader's own
        after = page[-1][0]
    assert found == whole == expected
    assert archive.calls == once


def test_the_last_item_is_found_by_halves(archive: Archive) -> None:
    archive.put(datetime(2001, 5, 5, tzinfo=UTC), "first")
    archive.put(datetime(2019, 5, 5, tzinfo=UTC), "last")
    stream = history(archive, begins=datetime(1990, 1, 1, tzinfo=UTC))
    assert stream.earliest() == datetime(2001, 5, 5, tzinfo=UTC)
    assert stream.latest() == datetime(2019, 5, 5, tzinfo=UTC)
    assert archive.calls < 60


def test_what_proves_who_we_are_is_asked_for_each_time(archive: Archive) -> None:
    fill(archive, 5)
    tokens = iter(range(100))
    ids(history(archive, headers=lambda: {"Authorization": f"Bearer {next(tokens)}"}))
    told = [asked.headers["Authorization"] for asked in archive.server.asked]
    assert told == [f"Bearer {number}" for number in range(len(told))]


def test_a_product_has_its_own_part(archive: Archive) -> None:
    for number in range(10):
        archive.put(T + number * HOUR, f"{number}", kind="odd" if number % 2 else "even")
    stream = history(archive)
    assert ids(stream.narrowed({"kind": "odd"})) == ["1", "3", "5", "7", "9"]
    assert len(ids(stream)) == 10
    named = HTTPHistory(archive.server.url("/log/{station}?order=asc"), name="n", begins=BEGINS)
    assert (
        urlsplit_path(named.narrowed({"station": "a/b c", "kind": True}).url)
        == "/log/a%2Fb%20c?order=asc&kind=true"
    )
    with pytest.raises(WrongAddress, match=r"station is '\.\.'"):
        named.narrowed({"station": ".."})


def urlsplit_path(url: str) -> str:
    return url.partition("://")[2].partition("/")[1] + url.partition("://")[2].partition("/")[2]


def test_what_happened_as_messages(archive: Archive) -> None:
    archive.put(T, "m1", topic="orders.paid", cents=7)
    archive.put(T + HOUR, "m2")
    stream = history(archive)
    assert list(stream.messages(T, T + HOUR)) == [
        Message(
            "orders.paid",
            {"id": "m1", "at": T.isoformat(), "topic": "orders.paid", "cents": 7},
            id="m1",
            at=T,
        )
    ]
    with pytest.raises(WrongContent, match=r"an item without a topic.*'m2'"):
        list(stream.messages(T, T + 2 * HOUR))


def test_options_that_cannot_be_used_are_told(archive: Archive) -> None:
    for options, told in (
        ({"begins": datetime(2026, 1, 1)}, "begins is an aware instant"),  # noqa: DTZ001
        ({"step": timedelta(0)}, "step is a second or longer"),
        ({"spelled": "words"}, "spelled is 'iso', 'unix' or a function"),
    ):
        with pytest.raises(ValueError, match=told):
            history(archive, **options)
    with pytest.raises(WrongAddress):
        HTTPHistory("ftp://there/log", name="log", begins=BEGINS)
    with pytest.raises(ValueError, match="aware instants"):
        ids(history(archive), datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_page_too_slow_is_an_error_in_the_end(archive: Archive) -> None:
    archive.fault = lambda call: hang
    with pytest.raises(TimedOut) as raised:
        ids(history(archive, time_limit=timedelta(seconds=0.2), retries=1))
    assert isinstance(raised.value, RemoteError)
    assert archive.calls == 2
