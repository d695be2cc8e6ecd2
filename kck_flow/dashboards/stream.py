"""A page as a stream (server-sent events): it says that something of what the page shows has changed, never what to.

Its address is the page's own, asked for as ``text/event-stream``: who may have it is decided by what decides it for the
page, the project's middleware and decorators included. Before each message it is asked again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..conf import conf
from ..key import Key
from ..permission import VIEW, may
from .pages import Page, short
from .visitors import anew
from .watching import Watch, Watcher, mark, watcher

logger = logging.getLogger("kck_flow")

TYPE: Final = "text/event-stream"
# A line now and then, so that what is in between keeps the connection, and a client that is gone is noticed.
BEAT_SECONDS = 15.0
# So long at most: then the browser asks anew, and with it whether it still may.
LAST_SECONDS = 900.0
RETRY_MS = 3000
# What changes in bursts is told in one message.
GATHER_SECONDS = 0.1

# Whether somebody still may is asked of the database: in one thread, whatever the number of streams.
_asking = ThreadPoolExecutor(1, thread_name_prefix="kck-live-may")


def is_asked_for(request: HttpRequest, ending: str | None) -> bool:
    """Whether a request is for the stream of a page."""
    return (
        ending in (None, "", "html") and request.headers.get("Accept", "").partition(",")[0].strip() == TYPE
    )


def is_there(request: HttpRequest) -> bool:
    """Whether this process can keep streams open: under WSGI each would hold a worker."""
    return conf.LIVE == "stream" and isinstance(request, ASGIRequest)


def respond(request: HttpRequest, page: Page) -> HttpResponseBase | None:
    """Return the stream of a page; None where there are as many as may be."""
    if len(watcher()) >= conf.LIVE_CLIENTS:
        return None
    response = StreamingHttpResponse(_Stream(request, page).events(), content_type=TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx: pass it on as it comes
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


class _Stream:
    def __init__(self, request: HttpRequest, page: Page) -> None:
        self.request = request
        self.keys = list(page.keys)
        self.guard = page.guard
        self.seen = request.headers.get("Last-Event-ID", "")
        self.watch: Watch | None = None

    async def events(self) -> AsyncIterator[str]:
        """Yield what is sent. When the client is gone, the task is cancelled, and the watch ends."""
        await sync_to_async(_let_go, thread_sensitive=True)()
        loop = asyncio.get_running_loop()
        changed: set[Key] = set()
        news = asyncio.Event()

        def take(keys: Sequence[Key]) -> None:
            changed.update(keys)
            news.set()

        def tell(keys: Sequence[Key]) -> None:
            try:
                loop.call_soon_threadsafe(take, keys)
            except RuntimeError:
                pass  # the loop is closed, and nobody listens

        self.watch = Watch(self.keys, tell)
        own: Watcher = watcher()
        if not own.join(self.watch, conf.LIVE_CLIENTS):
            yield _event("full")
            return
        try:
            until = loop.time() + LAST_SECONDS * random.uniform(0.8, 1.0)
            yield f"retry: {RETRY_MS}\n" + _event("begin")
            begun = False
            while (left := until - loop.time()) > 0:
                try:
                    await asyncio.wait_for(news.wait(), min(BEAT_SECONDS, left))
                except TimeoutError:
                    yield ": \n\n"
                    continue
                await asyncio.sleep(GATHER_SECONDS)
                news.clear()
                keys, at = sorted(changed), mark(self.watch.known)
                changed.clear()
                if not begun:
                    begun = True
                    if at == self.seen or not self.seen:
                        yield _event("ready", at)
                        continue
                told = await loop.run_in_executor(_asking, self._still, keys)
                if told is None:
                    return  # the browser asks again, and is told why not
                if told:
                    yield _event("changed", at, keys=told)
        finally:
            own.leave(self.watch)

    def _still(self, keys: Sequence[Key]) -> list[str] | None:
        """Return those that the visitor, as of now, may still see; None where it may not see the page."""
        try:
            user = anew(self.request)
            if not self.guard(user):
                return None
            seen = [short(key) for key in keys if may(user, VIEW, key)]
            return seen if seen or not keys or any(may(user, VIEW, key) for key in self.keys) else None
        except Exception as error:  # who cannot be known is told nothing
            logger.warning("live.not_asked path=%s error=%r", self.request.path, error)
            return None
        finally:
            for connection in connections.all(initialized_only=True):
                connection.close_if_unusable_or_obsolete()


def _event(name: str, id: str = "", **told: Any) -> str:
    text = f"event: {name}\ndata: {json.dumps(told)}\n\n"
    return f"id: {id}\n{text}" if id else text


def _let_go() -> None:
    """Give back the connections that the page was made with: a stream holds none."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
