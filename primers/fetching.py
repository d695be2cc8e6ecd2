"""A document is fetched over HTTP, within bounds: what ``remote`` stands on.

Bounds on the size, on the whole time and on where a redirect may lead: they have to be written whatever
library speaks HTTP below. So the standard library's does, and an import brings no dependency along.

::

    RemoteError
    ├── WrongAddress (ValueError)       no http or https URL, or one that carries a password
    ├── Unreachable (ConnectionError)   no connection, a broken one, or an answer that is no HTTP
    ├── TimedOut (TimeoutError)         not all there within the time limit
    ├── WrongStatus                     anything but 200, and 304 where we asked for it
    ├── WrongRedirect                   in a circle, too far, to another scheme, or to nowhere
    ├── TooLarge                        more bytes than the size limit, unpacked
    ├── Truncated                       it ended before its end
    └── WrongContent (ValueError)       HTML where JSON should be, a row too short, a number that is none…
"""

from __future__ import annotations

import json
import socket
import ssl
import string
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, urldefrag, urljoin, urlsplit
from urllib.request import AbstractHTTPHandler, HTTPHandler, OpenerDirector, ProxyHandler, Request

from kck_flow import progress

PIECE = 65_536  # bytes read, and unpacked, at once
CONDITIONS = ("If-None-Match", "If-Modified-Since")


class RemoteError(Exception):
    """Base of what a fetch can fail with. The messages name the URL without its query, where tokens stand."""


class WrongAddress(RemoteError, ValueError):
    """What should be fetched is no ``http`` or ``https`` URL, or one that carries a password."""


class Unreachable(RemoteError, ConnectionError):
    """No connection could be made, it broke, or what answered speaks no HTTP."""


class TimedOut(RemoteError, TimeoutError):
    """The document was not all there within the time limit."""


class WrongStatus(RemoteError):
    """The server answered with a status that brings no document.

    Attributes:
        status: Its number.
        retry_after: What it says of when to try again, seconds or a date of HTTP; None where it does not.
    """

    def __init__(self, message: str, status: int = 0, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class WrongRedirect(RemoteError):
    """The redirects run in a circle, are too many, or lead to where we do not go."""


class TooLarge(RemoteError):
    """The document has more bytes than the size limit."""


class Truncated(RemoteError):
    """The document ended before its end, or would not say where its end is."""


class WrongContent(RemoteError, ValueError):
    """What came is of another type, not decodable, no JSON or no table, or there is a wrong row in it."""


@dataclass(frozen=True)
class Document:
    """What came.

    Attributes:
        url: Where it was found, after all redirects.
        content: Its bytes, unpacked.
        content_type: Such as ``text/csv``; the empty text where the server does not say.
        charset: What the server says of its encoding, or None.
        etag, last_modified: What to ask with next time, or None.
    """

    url: str
    content: bytes
    content_type: str = ""
    charset: str | None = None
    etag: str | None = None
    last_modified: str | None = None

    def text(self, encoding: str = "utf-8") -> str:
        """Return the content as text, without a byte order mark.

        Args:
            encoding: Where the server says none.

        Raises:
            WrongContent: it is not so encoded, or nobody knows the encoding.
        """
        named = self.charset or encoding
        try:
            return self.content.decode(named).removeprefix("\ufeff")
        except LookupError:
            message = f"{shown(self.url)} is encoded in {named!r}, which is not known here."
            raise WrongContent(message) from None
        except UnicodeError as error:
            raise WrongContent(f"{shown(self.url)} is not encoded in {named}: {error}.") from error

    def json(self, *, decimals: bool = False) -> Any:
        """Return what the content says as JSON.

        Args:
            decimals: Whether numbers with a fraction become ``Decimal``, to the digit, instead of ``float``.

        Raises:
            WrongContent: it is none.
        """
        text = self.text()
        try:
            return json.loads(text, parse_float=Decimal if decimals else None, parse_constant=no_number)
        except (ValueError, RecursionError) as error:
            what = f"sent no JSON: {error}. It begins with {self.beginning()}"
            raise WrongContent(f"{shown(self.url)} {what}.") from error

    def at(self, found: Any, path: str) -> Any:
        """Return what stands at a path of names joined by dots, in what ``json`` returned. Raises WrongContent."""
        for name in path.split(".") if path else ():
            if not isinstance(found, dict) or name not in found:
                there = (
                    ", ".join(map(repr, found)) if isinstance(found, dict) else f"a {type(found).__name__}"
                )
                what = f"has no {name!r} on the path {path!r}; there is {there[:200] or 'nothing'}"
                raise WrongContent(f"{shown(self.url)} {what}.")
            found = found[name]
        return found

    def beginning(self) -> str:
        """Return the first words, for a message."""
        return repr(" ".join(self.content[:200].decode("ascii", "replace").split())[:60])


@dataclass(frozen=True)
class Fetch:
    """How a document is fetched: within which bounds, and what is said to the server.

    Attributes:
        time_limit: Seconds for all of it, redirects and body included.
        size_limit: Bytes, unpacked.
        redirects: How many are followed.
        needs_length: Whether an answer is refused that says neither how long it is nor where it ends: a
            connection that breaks looks like the end of such an answer.
        headers: Go to every server on the way.
        own_headers: Go to the first one only.
        tls: Returns how ``https`` is spoken.
    """

    time_limit: float
    size_limit: int
    redirects: int = 5
    needs_length: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    own_headers: Mapping[str, str] = field(default_factory=dict)
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context

    def get(self, url: str) -> Document | None:
        """Return the document at ``url``, or None where its server says that we have it already (304).

        Raises:
            RemoteError: of one of its kinds, whatever went wrong.
        """
        checked(url)
        with Watch(self.time_limit) as watch:
            try:
                response, found_at = self._follow(url, watch)
                with response:
                    found = self._received(response, found_at)
                if watch.over:
                    raise TimeoutError  # we cut it short ourselves, and it may look whole
                return found
            except (RemoteError, OSError, HTTPException, UnicodeError) as error:
                cause = error.reason if isinstance(error, URLError) else error
                if watch.over or isinstance(cause, TimeoutError):
                    raise TimedOut(f"{shown(url)} was not there within {self.time_limit:g} s.") from error
                if isinstance(error, RemoteError):
                    raise
                if isinstance(error, IncompleteRead):
                    raise Truncated(f"{shown(url)} broke off in the middle.") from error
                raise Unreachable(f"{shown(url)}: {type(cause).__name__}: {cause}") from error

    def _follow(self, url: str, watch: Watch) -> tuple[HTTPResponse, str]:
        """Return the first answer that is no redirect, and where it came from."""
        opener = self._opener(watch)
        own = self.own_headers
        been = [url]
        while True:
            here = been[-1]
            request = Request(here, headers={"Accept-Encoding": "gzip", **self.headers, **own})
            response: HTTPResponse = opener.open(request, timeout=watch.left())
            if response.status not in (301, 302, 303, 307, 308):
                return response, here
            with response:
                further = redirected(here, response.headers.get("Location"))
            if further in been:
                circle = " → ".join(map(shown, [*been, further]))
                raise WrongRedirect(f"{shown(url)} is redirected in a circle: {circle}.")
            if len(been) > self.redirects:
                raise WrongRedirect(f"{shown(url)} is redirected more than {self.redirects} times.")
            if origin(further) != origin(url):
                own = {}  # what proves who we are is for the server that we chose
            been.append(further)

    def _opener(self, watch: Watch) -> OpenerDirector:
        # Not urlopen's, which follows redirects to ftp: and would read file: and data: URLs.
        opener = OpenerDirector()
        for handler in (ProxyHandler(), _HTTP(watch), _HTTPS(watch, self.tls)):
            opener.add_handler(handler)
        return opener

    def _received(self, response: HTTPResponse, url: str) -> Document | None:
        if response.status == 304 and any(name in self.headers for name in CONDITIONS):
            return None
        headers = response.headers
        if response.status != 200:
            later = headers.get("Retry-After")
            when = f" (Retry-After: {later[:40]})" if later else ""
            said = f"{response.status} {response.reason[:80]}".strip()
            raise WrongStatus(f"{shown(url)} answered {said}{when}.", response.status, later)
        if self.needs_length and response.length is None and not response.chunked:
            raise Truncated(
                f"{shown(url)} does not say where it ends: cut short, it would look whole. "
                "Where its server cannot do better, set needs_length = False."
            )
        if response.length is not None and response.length > self.size_limit:
            raise self._too_large(url, f"{response.length} bytes")
        return Document(
            url=url,
            content=self._content(response, url),
            content_type=headers.get_content_type() if headers.get("Content-Type") else "",
            charset=headers.get_content_charset(),
            etag=headers.get("ETag"),
            last_modified=headers.get("Last-Modified"),
        )

    def _content(self, response: HTTPResponse, url: str) -> bytes:
        packed = response.headers.get("Content-Encoding", "identity").strip().lower()
        if packed not in ("identity", "gzip", "x-gzip"):
            raise WrongContent(f"{shown(url)} is packed with {packed!r}; we asked for gzip, or nothing.")
        pieces = self._pieces(response, url)
        content = bytearray()
        for piece in pieces if packed == "identity" else self._unpacked(pieces, url):
            content += piece
            if len(content) > self.size_limit:
                raise self._too_large(url, "more")
        return bytes(content)

    def _pieces(self, response: HTTPResponse, url: str) -> Iterator[bytes]:
        total, received = response.length, 0
        # read1: what is there, and not only when a whole piece is; never past the end, which a server may not close
        while (total is None or received < total) and (piece := response.read1(PIECE)):
            received += len(piece)
            progress(received, total, "bytes")
            yield piece
        if total is not None and received < total:  # which http.client does not mind
            raise Truncated(f"{shown(url)} broke off after {received} of {total} bytes.")

    def _unpacked(self, pieces: Iterator[bytes], url: str) -> Iterator[bytes]:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            for piece in pieces:
                while piece:
                    if unpacker.eof:  # gzip files may stand one after the other
                        unpacker = zlib.decompressobj(wbits=31)
                    # Never more than a piece at once: a few bytes of gzip can be gigabytes of zeros.
                    yield unpacker.decompress(piece, PIECE)
                    piece = unpacker.unconsumed_tail or unpacker.unused_data
        except zlib.error as error:
            raise WrongContent(f"{shown(url)} is not packed with gzip, as it says: {error}.") from error
        if not unpacker.eof:
            raise Truncated(f"{shown(url)} broke off in the middle of what gzip has packed.")

    def _too_large(self, url: str, size: str) -> TooLarge:
        return TooLarge(f"{shown(url)} has {size}; size_limit is {self.size_limit} bytes.")


class Watch:
    """Ends a fetch when its time is over, wherever it hangs.

    A socket's own timeout begins anew with each byte: a server that sends one a second would hold us for
    ever.
    """

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._ends_at = time.monotonic() + seconds
        self._connections: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Watch:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def left(self) -> float:
        """Return how many seconds are left. Raises TimeoutError: none."""
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def hold(self, connection: socket.socket) -> None:
        """Watch a connection, too. Raises TimeoutError: it was made too late."""
        self._connections.append(connection)
        connection.settimeout(self.left())

    def _end(self) -> None:
        self.over = True
        for connection in self._connections:
            with suppress(OSError):  # closed already
                # The bare socket's: TLS would wait to say good-bye to a server that does not listen.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Plain(HTTPConnection):
    def __init__(self, host: str, *, watch: Watch, **options: Any) -> None:
        super().__init__(host, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.hold(self.sock)


class _Secure(HTTPSConnection):
    def __init__(self, host: str, *, watch: Watch, **options: Any) -> None:
        super().__init__(host, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.hold(self.sock)


class _HTTP(HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_Plain, watch=self._watch), req)


class _HTTPS(AbstractHTTPHandler):
    # Not HTTPSHandler: it reads all certificates of the system as it is made, which takes longer than a page.
    https_request = AbstractHTTPHandler.do_request_

    def __init__(self, watch: Watch, tls: Callable[[], ssl.SSLContext]) -> None:
        super().__init__()
        self._watch, self._tls = watch, tls

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_Secure, watch=self._watch, context=self._tls()), req)


def no_number(name: str) -> Any:
    """Refuse ``NaN`` and ``Infinity``, which Python reads and JSON does not know."""
    raise ValueError(f"{name} is no JSON")


# -- addresses -----------------------------------------------------------------------------------------------


def checked(url: str) -> str:
    """Return ``url``. Raises WrongAddress: it is no http or https URL, or carries a name or password."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        raise WrongAddress(f"{url[:200]!r} is no URL.") from None
    if not known:
        raise WrongAddress(f"{shown(url)!r} is no http or https URL, and nothing else is fetched.")
    if "@" in parts.netloc:
        raise WrongAddress(f"{shown(url)!r} carries a name or a password. Send them in a header.")
    return url


def redirected(here: str, location: str | None) -> str:
    """Return where an answer of ``here`` sends us. Raises WrongRedirect: nowhere, or where we do not go."""
    if not location:
        raise WrongRedirect(f"{shown(here)} is redirected, and its server does not say where to.")
    try:
        # What is not ASCII is escaped, as browsers do; what is escaped already stays.
        further = checked(urldefrag(urljoin(here, quote(location, safe=string.punctuation))).url)
    except ValueError as error:
        raise WrongRedirect(f"{shown(here)} is redirected to where we do not go: {error}") from error
    if urlsplit(here).scheme == "https" and urlsplit(further).scheme == "http":
        raise WrongRedirect(f"{shown(here)} is redirected to {shown(further)}, where anybody can read along.")
    return further


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return the server of a URL: scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def shown(url: str) -> str:
    """Return ``url`` for a message, which is kept and read by many: without password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"
