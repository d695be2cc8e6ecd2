"""What comes over the network, and what all may go wrong there; against a server on this machine."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from primers import fetching
from primers.fetching import (
    Document,
    Fetch,
    RemoteError,
    TimedOut,
    TooLarge,
    Truncated,
    Unreachable,
    WrongAddress,
    WrongContent,
    WrongRedirect,
    WrongStatus,
)
from tests.primers.loopback import Loopback, unused_port

SHORT = 0.3  # seconds; long enough for a server on this machine that answers at all


def fetch(url: str, **options: Any) -> Document | None:
    return Fetch(**{"time_limit": 10.0, "size_limit": 100_000, **options}).get(url)


def content(url: str, **options: Any) -> bytes:
    found = fetch(url, **options)
    assert found is not None
    return found.content


# -- what goes well ------------------------------------------------------------------------------------------


def test_a_document_comes_with_what_its_server_says_of_it(server: Loopback) -> None:
    server.give(
        "/a",
        "ä".encode("latin-1"),
        content_type="Text/CSV; charset=ISO-8859-1",
        etag='"1"',
        last_modified="then",
    )
    found = fetch(server.url("/a"))
    assert found == Document(server.url("/a"), b"\xe4", "text/csv", "iso-8859-1", '"1"', "then")
    assert found.text() == "ä"


def test_a_document_of_which_nothing_is_said_has_no_type(server: Loopback) -> None:
    server.give("/a", "x", content_type=None)
    assert fetch(server.url("/a")) == Document(server.url("/a"), b"x")


def test_our_headers_are_sent(server: Loopback) -> None:
    server.give("/a")
    fetch(server.url("/a?q=1"), headers={"User-Agent": "we"}, own_headers={"Authorization": "Bearer t"})
    [asked] = server.asked
    assert asked.path == "/a?q=1"
    assert asked.headers["User-Agent"] == "we"
    assert asked.headers["Authorization"] == "Bearer t"


def test_nothing_new_is_no_document(server: Loopback) -> None:
    server.publish("/a", "x", etag='"1"')
    assert fetch(server.url("/a"), headers={"If-None-Match": '"1"'}) is None
    assert content(server.url("/a"), headers={"If-None-Match": '"0"'}) == b"x"


def test_nothing_new_is_an_error_where_nobody_asked(server: Loopback) -> None:
    server.give("/a", status=304)
    with pytest.raises(WrongStatus, match="304"):
        fetch(server.url("/a"))


@pytest.mark.parametrize("parts", [1, 2])
def test_what_is_packed_is_unpacked(server: Loopback, parts: int) -> None:
    text = b"price\n" * 10_000
    packed = b"".join(gzip.compress(text[at::parts]) for at in range(parts))
    server.give("/a", packed, content_encoding="gzip")
    assert sorted(content(server.url("/a"))) == sorted(text)
    assert server.asked[0].headers["Accept-Encoding"] == "gzip"


def test_chunks_are_put_together(server: Loopback) -> None:
    server.send(
        "/a", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert content(server.url("/a")) == b"abcde"


# -- redirects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_relative_ones_too(server: Loopback, status: int) -> None:
    server.redirect("/a/b", "../c d/ü?x=%20", status)
    server.give("/c%20d/%C3%BC", "there")
    assert content(server.url("/a/b")) == b"there"
    assert server.asked[-1].path == "/c%20d/%C3%BC?x=%20"


def test_who_we_are_is_told_only_to_the_server_that_we_chose(server: Loopback, other: Loopback) -> None:
    server.redirect("/here", "/there")
    server.redirect("/there", other.url("/elsewhere"))
    other.redirect("/elsewhere", server.url("/back"))
    server.give("/back", "x")
    secret = {"Authorization": "Bearer t", "X-Key": "k"}
    assert content(server.url("/here"), own_headers=secret, headers={"Accept": "text/csv"}) == b"x"
    told = [
        (asked.path, "Authorization" in asked.headers, "X-Key" in asked.headers) for asked in server.asked
    ]
    assert told == [("/here", True, True), ("/there", True, True), ("/back", False, False)]
    [elsewhere] = other.asked
    assert not {"Authorization", "X-Key"} & set(elsewhere.headers)
    assert elsewhere.headers["Accept"] == "text/csv"


def test_a_circle_is_left(server: Loopback) -> None:
    server.redirect("/a", "/b")
    server.redirect("/b", "/a#again")
    with pytest.raises(WrongRedirect, match=r"circle: http\S*/a → http\S*/b → http\S*/a\.$"):
        fetch(server.url("/a"))
    assert len(server.asked) == 2


def test_redirects_end(server: Loopback) -> None:
    for number in range(10):
        server.redirect(f"/{number}", f"/{number + 1}")
    server.give("/3", "x")
    assert content(server.url("/0"), redirects=3) == b"x"
    with pytest.raises(WrongRedirect, match="more than 2 times"):
        fetch(server.url("/0"), redirects=2)


@pytest.mark.parametrize(
    "to",
    [None, "file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/csv,a", "gopher://x/", "//u:p@127.0.0.1/", "http://[", "http://h:x/"],
)  # fmt: skip
def test_where_we_do_not_go(server: Loopback, to: str | None) -> None:
    server.redirect("/a", to)
    with pytest.raises(WrongRedirect) as raised:
        fetch(server.url("/a"))
    assert ":p@" not in str(raised.value)


def test_what_was_private_stays_private() -> None:
    assert fetching.redirected("https://a.example/x", "//b.example/y") == "https://b.example/y"
    with pytest.raises(WrongRedirect, match="read along"):
        fetching.redirected("https://a.example/x", "http://a.example/x")


# -- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "rates.csv", "/etc/passwd", "file:///etc/passwd", "FILE:///etc/passwd", "ftp://h/x", "data:,x",
            "http://", "http:///x", "http://[::1", "http://h:99999/", "http://h:0/", "javascript:1"],
)  # fmt: skip
def test_what_is_no_address_is_never_asked(url: str) -> None:
    with pytest.raises(WrongAddress):
        fetch(url)


def test_passwords_do_not_belong_into_addresses() -> None:
    with pytest.raises(WrongAddress, match="header") as raised:
        fetch("https://me:secret@h.example/x?token=secret")
    assert "secret" not in str(raised.value)


def test_tokens_are_not_told_in_messages(server: Loopback) -> None:
    server.give("/a", status=500)
    with pytest.raises(WrongStatus) as raised:
        fetch(server.url("/a?token=secret"))
    assert str(raised.value) == f"{server.url('/a')}?… answered 500 Internal Server Error."


# -- a server that fails -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 206, 400, 401, 403, 404, 418, 429, 500, 502, 503])
def test_another_status_is_no_document(server: Loopback, status: int) -> None:
    server.give("/a", "x", status=status, retry_after="120")
    with pytest.raises(WrongStatus, match=rf"answered {status} .*\(Retry-After: 120\)\.$") as raised:
        fetch(server.url("/a"))
    assert raised.value.status == status


def test_nobody_listens() -> None:
    with pytest.raises(Unreachable, match="refused"):
        fetch(f"http://127.0.0.1:{unused_port()}/")


def test_there_is_no_such_server() -> None:
    with pytest.raises(Unreachable):
        fetch("http://nowhere.invalid/")
    with pytest.raises(Unreachable):
        fetch(f"http://{'a' * 64}.invalid/")  # a name that no name server could know


def test_it_hangs_up(server: Loopback) -> None:
    server.send("/a", b"")
    server.reset("/b")
    for path in ("/a", "/b"):
        with pytest.raises(Unreachable):
            fetch(server.url(path))


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\1\2\3\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200,
    ],
)
def test_what_answers_is_no_http(server: Loopback, raw: bytes) -> None:
    server.send("/a", raw)
    with pytest.raises(Unreachable):
        fetch(server.url("/a"))


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\nContent-Encoding: gzip\r\n\r\n"
        + gzip.compress(b"abc" * 99)[:25],
    ],
)
def test_a_document_that_ends_before_its_end_is_none(server: Loopback, raw: bytes) -> None:
    server.send("/a", raw)
    with pytest.raises(Truncated, match="broke off"):
        fetch(server.url("/a"))


def test_a_document_whose_end_nobody_knows_is_taken_only_if_wanted(server: Loopback) -> None:
    server.send("/a", b"HTTP/1.1 200 OK\r\n\r\nabc")
    with pytest.raises(Truncated, match="needs_length"):
        fetch(server.url("/a"))
    assert content(server.url("/a"), needs_length=False) == b"abc"


@pytest.mark.parametrize("raw", [b"plain", gzip.compress(b"abc")[:-8] + b"\0" * 8])
def test_what_claims_to_be_packed_and_is_not(server: Loopback, raw: bytes) -> None:
    server.give("/a", raw, content_encoding="gzip")
    with pytest.raises(WrongContent, match="gzip"):
        fetch(server.url("/a"))


def test_it_is_packed_as_we_did_not_ask_for(server: Loopback) -> None:
    server.give("/a", b"x", content_encoding="br")
    with pytest.raises(WrongContent, match="'br'"):
        fetch(server.url("/a"))


# -- bounds --------------------------------------------------------------------------------------------------


def test_what_is_announced_as_too_large_is_not_even_begun(server: Loopback) -> None:
    server.send("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n")
    with pytest.raises(TooLarge, match="100001 bytes; size_limit is 100000"):
        fetch(server.url("/a"))


def test_what_does_not_say_how_large_it_is_is_left_in_the_middle(server: Loopback) -> None:
    server.drip("/a", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_001)
    with pytest.raises(TooLarge):
        fetch(server.url("/a"), needs_length=False)


def test_a_full_size_is_not_too_large(server: Loopback) -> None:
    server.give("/a", b"x" * 100_000)
    assert len(content(server.url("/a"))) == 100_000


def test_what_swells_when_unpacked_is_left_in_the_middle(server: Loopback) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    server.give("/a", bomb, content_encoding="gzip")
    with pytest.raises(TooLarge):
        fetch(server.url("/a"))


def test_it_never_answers(server: Loopback) -> None:
    server.hang("/a")
    with pytest.raises(TimedOut, match=r"within 0\.3 s"):
        fetch(server.url("/a"), time_limit=SHORT)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nA: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_a_byte_now_and_then_does_not_keep_us(server: Loopback, head: bytes) -> None:
    server.drip("/a", head)
    begun = time.monotonic()
    with pytest.raises(TimedOut):
        fetch(server.url("/a"), time_limit=SHORT, needs_length=False)
    assert time.monotonic() - begun < 5


def test_redirects_and_document_share_the_time(server: Loopback) -> None:
    server.redirect("/a", "/b")
    server.hang("/b")
    with pytest.raises(TimedOut, match="/a was not there"):
        fetch(server.url("/a"), time_limit=SHORT)


def test_no_watch_is_left_behind(server: Loopback) -> None:
    server.give("/a")
    fetch(server.url("/a"), time_limit=3600)
    assert not [
        one for one in threading.enumerate() if isinstance(one, threading.Timer) and not one.finished.is_set()
    ]


# -- https ---------------------------------------------------------------------------------------------------

CERTIFICATE = Path(__file__).with_name("loopback.pem")


def test_certificates_are_checked() -> None:
    speaking = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    speaking.load_cert_chain(CERTIFICATE)
    with Loopback(tls=speaking) as server:
        server.give("/a", "private")
        server.hang("/b")
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(server.url("/a"))

        def trusting() -> ssl.SSLContext:
            return ssl.create_default_context(cafile=str(CERTIFICATE))

        assert content(server.url("/a"), tls=trusting) == b"private"
        with pytest.raises(TimedOut):
            fetch(server.url("/b"), tls=trusting, time_limit=SHORT)


def test_a_server_without_tls_is_not_spoken_to_openly(server: Loopback) -> None:
    server.give("/a")
    with pytest.raises(Unreachable, match="SSL"):
        fetch(server.url("/a").replace("http:", "https:"))
    assert not server.asked


# -- documents -----------------------------------------------------------------------------------------------


def test_the_bytes_become_text() -> None:
    assert Document("", "\ufeffä".encode()).text() == "ä"
    assert Document("", "ä".encode("utf-16")).text("utf-16") == "ä"
    assert Document("", b"\xe4", charset="latin-1").text("ascii") == "ä"


@pytest.mark.parametrize("charset", ["klingon", "zip", "utf-8", "rot13"])
def test_bytes_that_are_no_text(charset: str) -> None:
    with pytest.raises(WrongContent, match=charset):
        Document("http://h/", b"\xff\xff", charset=charset).text()


def test_the_errors_are_what_a_caller_would_expect() -> None:
    expected = {
        WrongAddress: ValueError,
        Unreachable: ConnectionError,
        TimedOut: TimeoutError,
        WrongContent: ValueError,
    }
    assert all(
        issubclass(error, usual) and issubclass(error, RemoteError) for error, usual in expected.items()
    )
