"""A server on this machine that answers as it is told: well, badly, slowly or not at all."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Asked:
    """One request, as it arrived."""

    path: str
    headers: Mapping[str, str]


class Loopback:
    """``with Loopback() as server: server.give("/rates.csv", "a,b\\n1,2\\n")``; ``server.asked`` is what was asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._answers: dict[str, Answer] = {}
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                loopback.asked.append(Asked(self.path, dict(self.headers)))
                loopback._answers[self.path.partition("?")[0]](self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the client went away, as it should

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://127.0.0.1:{self._server.server_port}{path}"

    def answer(self, path: str, answer: Answer) -> None:
        """Let a function answer."""
        self._answers[path] = answer

    def give(
        self,
        path: str,
        body: str | bytes = b"",
        *,
        status: int = 200,
        content_type: str | None = "text/csv",
        **headers: str,
    ) -> None:
        """Answer well: with a body, its type, and headers (``last_modified="…"``)."""
        content = body.encode() if isinstance(body, str) else body

        def answer(handler: BaseHTTPRequestHandler) -> None:
            begin(handler, status, {"Content-Length": str(len(content)), **named(content_type, headers)})
            handler.wfile.write(content)

        self.answer(path, answer)

    def publish(
        self, path: str, body: str, *, etag: str, content_type: str = "text/csv", last_modified: str = ""
    ) -> None:
        """Answer as a good server does: 304 to whoever has this version already."""
        headers = {"ETag": etag, **({"Last-Modified": last_modified} if last_modified else {})}

        def answer(handler: BaseHTTPRequestHandler) -> None:
            if handler.headers.get("If-None-Match") == etag:
                begin(handler, 304, headers)
                return
            content = body.encode()
            begin(
                handler, 200, {"Content-Length": str(len(content)), "Content-Type": content_type, **headers}
            )
            handler.wfile.write(content)

        self.answer(path, answer)

    def redirect(self, path: str, to: str | None, status: int = 302) -> None:
        self.answer(
            path,
            lambda handler: begin(
                handler, status, {"Content-Length": "0", **({"Location": to} if to else {})}
            ),
        )

    def hang(self, path: str) -> None:
        """Take the request, and never answer."""
        self.answer(path, lambda handler: quiet(self.closing.wait()))

    def drip(self, path: str, head: bytes = b"") -> None:
        """Answer with ``head``, and then a byte now and then, for ever."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(head)
            while not self.closing.wait(0.02):
                handler.wfile.write(b"x")

        self.answer(path, answer)

    def send(self, path: str, raw: bytes) -> None:
        """Answer with these bytes, whatever they are, and hang up."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(raw)
            handler.close_connection = True

        self.answer(path, answer)

    def reset(self, path: str) -> None:
        """Hang up in the hard way."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            handler.connection.close()

        self.answer(path, answer)


def begin(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def named(content_type: str | None, headers: Mapping[str, str]) -> dict[str, str]:
    found = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return ({"Content-Type": content_type} if content_type is not None else {}) | found


def quiet(_: object) -> None:
    return None


def unused_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
