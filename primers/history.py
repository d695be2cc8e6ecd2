"""A history that is asked for over HTTP, page by page, as a stream: the past of a message bus, a log behind an API.

::

    # bus/primers.py
    from datetime import UTC, datetime, timedelta

    from kck_flow import TimeFrame
    from primers.history import HTTPHistory, PageNumbers

    MESSAGES = HTTPHistory(
        "https://grep.example/raw",
        name="bus-history",
        begins=datetime(2024, 1, 1, tzinfo=UTC),
        since="start", until="end", spelled="unix",      # what it calls the bounds, and how it writes instants
        items="raw_messages", id="msg_id", at="timestamp", total="total",
        pages=PageNumbers("page", size="rows_per_page", per_page=100, pages="pages"),
        settles=timedelta(minutes=5),
    )


    class MessagesPerHour(TimeFrame):
        key_base, stream, duration = "messages_per_hour", MESSAGES, "hour"

        def compute(self, key, items):
            return len(items)

A page that cannot be had is asked for again; if that goes on, the read fails, and brings nothing of the step that the
page belongs to: nothing is ever left out without a word. What looks as if the pages moved while they were read (an item
that comes twice, a total that is not what came) makes the step be read again, from its first page.

As the history of a source of messages: ``def history(self, since, until): return MESSAGES.messages(since, until)``.
"""

from __future__ import annotations

import bisect
import copy
import random
import ssl
import string
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from django.utils import timezone

from kck_flow import Message, Stream

from .fetching import (
    Document,
    Fetch,
    RemoteError,
    TimedOut,
    Truncated,
    Unreachable,
    WrongAddress,
    WrongContent,
    WrongStatus,
    checked,
    origin,
    shown,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)  # what lies further ahead of now is not asked for
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that may be others in a moment
REMEMBERED = 60.0  # seconds for which a read that goes on takes the step that it has had already
MOST_PAGES = 100_000

Place = tuple[datetime, str]


class Moved(WrongContent):
    """What its pages bring does not belong together: it moved while they were read, or the API leaves pages out."""


class Unreadable(WrongContent):
    """An answer that is no JSON, as proxies send it for a server that is away."""


@dataclass(frozen=True)
class Page:
    """A page that came.

    Attributes:
        base: The URL without what tells the page.
        document, found: What came, and what it says.
        number: Which page it is, the first is 1.
        got: How many items are on it.
        had: How many there were up to it.
        total: How many there are in all, as it says; None where it does not.
        before: The page before it.
    """

    base: str
    document: Document
    found: Any
    number: int
    got: int
    had: int
    total: int | None
    before: Page | None


@dataclass(frozen=True)
class PageNumbers:
    """Pages by their number.

    Where the API tells neither a total (of ``HTTPHistory``) nor how many pages there are, pages are asked for until one
    is empty: one that is short may be all that the server gives at once.

    Args:
        page: Name of the parameter.
        size, per_page: Name of the parameter that says how many items a page may have, and how many.
        first: Number of the first page.
        pages: Path of how many pages there are.
    """

    page: str = "page"
    size: str = ""
    per_page: int = 100
    first: int = 1
    pages: str = ""

    def begin(self, base: str) -> str:
        """Return the URL of the first page."""
        return self._url(base, self.first)

    def following(self, page: Page) -> str | None:
        """Return the URL of the page after one; None after the last. Raises Moved, WrongContent."""
        if self.pages:
            last = whole(page, self.pages)
            if page.before is not None and last < whole(page.before, self.pages):
                raise Moved(
                    f"{shown(page.base)} has fewer pages than it had when page {page.number} was read."
                )
            if page.number >= last:
                return None
        elif page.got == 0 or (page.total is not None and page.had >= page.total):
            return None
        return self._url(page.base, self.first + page.number)

    def _url(self, base: str, number: int) -> str:
        more = {self.size: str(self.per_page)} if self.size else {}
        return asking(base, {**more, self.page: str(number)})


@dataclass(frozen=True)
class NextLinks:
    """Pages each of which has the address of the next one, at the path ``at``; the last has none."""

    at: str = "next"

    def begin(self, base: str) -> str:
        return base

    def following(self, page: Page) -> str | None:
        link = found_at(page.found, self.at)
        if not link:
            return None
        url = checked(urljoin(page.document.url, str(link)))
        if origin(url) != origin(page.base):
            # What proves who we are goes to the server that we chose, and to no other.
            raise WrongContent(f"{shown(page.base)} says that its next page is elsewhere: {shown(url)}.")
        return url


@dataclass(frozen=True)
class Cursors:
    """Pages each of which has a word, at the path ``at``, by which the next one is asked for; the last has none.

    Args:
        cursor: Name of the parameter.
    """

    cursor: str = "cursor"
    at: str = "next_cursor"

    def begin(self, base: str) -> str:
        return base

    def following(self, page: Page) -> str | None:
        word = found_at(page.found, self.at)
        return asking(page.base, {self.cursor: str(word)}) if word not in (None, "", False) else None


class HTTPHistory(Stream):
    """A stream over a JSON API that gives what happened between two instants, in pages.

    The items are what the API has, dicts. Paths are names joined by dots: ``"meta.total"``. What lies more than a day
    ahead of now is not asked for.

    Args:
        url: Of the API, its own parameters included; ``{station}`` stands for a parameter of the product.
        name: What the stream is called.
        begins: From when on there may be something; aware.
        items: Path of the list of items; empty: the document is the list.
        id: Path, in an item, of what tells it from all others.
        at: Path, in an item, of its instant: text of ISO 8601, or seconds since 1970.
        pages: How it has pages: ``PageNumbers()``, ``NextLinks()`` or ``Cursors()``.
        total: Path of how many items there are in all, on each page; empty: it does not say, and that items were
            deleted while it was read is not seen.
        since, until: Names of the parameters for the bounds. Whether it takes them as included or not does not matter
            for ``until``; what ``since`` must not leave out, ``margin`` is for.
        spelled: How bounds are written: ``"iso"``, ``"unix"`` (whole seconds), or a function of an aware datetime.
        margin: By how much more is asked for on both sides than is wanted.
        tz: Zone of instants without an offset; without it, they are an error.
        step: How much time is asked for at once: what it has is in memory together, and read again together.
        settles: How long after an instant the API has all of it: the stream is complete up to so long ago. None: up to
            the last item.
        headers: Of your own, or a function that returns them, such as what proves who we are.
        time_limit, size_limit: Of one page.
        retries: How often a page is asked for again.
        pause: Before the first time; twice as long before each further one, up to ``longest_pause``, unless the server
            says for how long (``Retry-After``): if that is longer than ``longest_pause``, the read fails.
        rereads: How often a step is read again whose pages moved.
        decimals: Whether numbers with a fraction become ``Decimal``.
        topic: Path, in an item, of the topic that it has as a message (``messages``).

    Raises:
        ValueError: an option cannot be used.
    """

    user_agent: ClassVar[str] = "kck-flow"

    def __init__(
        self,
        url: str,
        *,
        name: str,
        begins: datetime,
        items: str = "items",
        id: str = "id",
        at: str = "at",
        pages: Any = None,
        total: str = "",
        since: str = "since",
        until: str = "until",
        spelled: Literal["iso", "unix"] | Callable[[datetime], str] = "iso",
        margin: timedelta = timedelta(0),
        tz: tzinfo | None = None,
        step: timedelta = timedelta(days=1),
        settles: timedelta | None = None,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        time_limit: timedelta = timedelta(seconds=30),
        size_limit: int = 16 * 1024 * 1024,
        retries: int = 5,
        pause: timedelta = timedelta(seconds=1),
        longest_pause: timedelta = timedelta(minutes=2),
        rereads: int = 3,
        decimals: bool = False,
        topic: str = "topic",
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        if begins.tzinfo is None:
            raise ValueError(f"begins is an aware instant, and {begins} is naive.")
        if step < timedelta(seconds=1):
            raise ValueError(f"step is a second or longer, not {step}.")
        if not callable(spelled) and spelled not in ("iso", "unix"):
            raise ValueError(f"spelled is 'iso', 'unix' or a function, not {spelled!r}.")
        checked(url)
        self.url = url
        self.name = name
        self.begins = begins.astimezone(UTC)
        self.items, self.id, self.at, self.total, self.topic = items, id, at, total, topic
        self.pages = pages if pages is not None else PageNumbers()
        self.since, self.until, self.spelled, self.margin, self.tz = since, until, spelled, margin, tz
        self.step, self.settles = step, settles
        self.headers = headers if headers is not None else {}
        self.time_limit, self.size_limit, self.tls = time_limit, size_limit, tls
        self.retries, self.pause, self.longest_pause, self.rereads = retries, pause, longest_pause, rereads
        self.decimals = decimals
        self._last: tuple[datetime, datetime, float, list[tuple[Place, Any]]] | None = None

    # -- a stream
    # ------------------------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        return not self._any(self.begins, self._horizon())

    def earliest(self) -> datetime | None:
        return self._end(self.begins, self._horizon(), first=True)

    def latest(self) -> datetime | None:
        return self._end(self.begins, self._horizon(), first=False)

    def watermark(self) -> datetime | None:
        return timezone.now() - self.settles if self.settles is not None else self.latest()

    def read(
        self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None
    ) -> Iterator[tuple[Place, Any]]:
        """Yield (place, item); a place is (instant, id).

        Raises:
            RemoteError: a page cannot be had, or what came cannot be understood.
        """
        if start.tzinfo is None or end.tzinfo is None:
            raise ValueError(f"The stream {self.name!r} is read by aware instants.")
        begin, end = max(start.astimezone(UTC), self.begins), min(end.astimezone(UTC), self._horizon())
        if after is not None and after[0] > begin:
            begin += (after[0] - begin) // self.step * self.step
        left = limit
        while begin < end and (left is None or left > 0):
            until = min(begin + self.step, end)
            rows = self._had(begin, until) if after is not None else None
            if rows is None:
                rows = self._step(begin, until)
                self._last = (begin, until, time.monotonic(), rows)
            behind = (
                bisect.bisect_right(rows, tuple(after), key=lambda row: row[0]) if after is not None else 0
            )
            for place, item in rows[behind : behind + left if left is not None else None]:
                yield place, copy.deepcopy(item)  # it may be read again
                left = left - 1 if left is not None else None
            begin = until

    def narrowed(self, params: Mapping[str, Any]) -> HTTPHistory:
        """Return what the API has for these parameters: filled in where the URL names them, else its own parameters.

        Raises:
            WrongAddress: one is ``.`` or ``..`` in the URL.
        """
        if not params:
            return self
        texts = {name: spelled_value(value) for name, value in params.items()}
        named = {name for _, name, _, _ in string.Formatter().parse(self.url) if name}
        for name in named & texts.keys():
            if texts[name] in (".", ".."):
                raise WrongAddress(f"{name} is {texts[name]!r}, which cannot be part of a URL.")
        found = copy.copy(self)
        inside = {name: quote(texts[name], safe="") if name in texts else f"{{{name}}}" for name in named}
        rest = {name: text for name, text in texts.items() if name not in named}
        found.url = asking(self.url.format(**inside), rest)
        found._last = None
        return found

    def messages(self, since: datetime, until: datetime) -> Iterator[Message]:
        """Yield what happened in ``[since, until)`` as messages: the ``history`` of a source."""
        for (at, id), item in self.read(since, until):
            yield self.message(at, id, item)

    # -- what a subclass may override
    # ----------------------------------------------------------------------------------

    def message(self, at: datetime, id: str, item: Any) -> Message:
        """Return an item as a message: the item is its body. Raises WrongContent: it has no topic."""
        topic = found_at(item, self.topic)
        if not isinstance(topic, str) or not topic:
            raise WrongContent(f"{shown(self.url)} has an item without a topic ({self.topic}): {id!r}.")
        return Message(topic, item, id=id, at=at)

    # -- steps, pages, requests
    # ----------------------------------------------------------------------------------------

    def _horizon(self) -> datetime:
        return timezone.now().astimezone(UTC) + AHEAD

    def _had(self, start: datetime, end: datetime) -> list[tuple[Place, Any]] | None:
        last = self._last
        if last is None or last[:2] != (start, end) or time.monotonic() - last[2] > REMEMBERED:
            return None
        return last[3]

    def _step(self, start: datetime, end: datetime) -> list[tuple[Place, Any]]:
        """Return all that is in ``[start, end)``, in order: whole, or not at all."""
        for again in range(self.rereads + 1):
            try:
                return sorted(self._walk(start, end), key=lambda row: row[0])
            except Moved as error:
                if again == self.rereads:
                    error.add_note(
                        f"It was read {again + 1} times, {start.isoformat()} to {end.isoformat()}."
                    )
                    raise
                self._rest(again, None)
        raise AssertionError("unreachable")

    def _walk(self, start: datetime, end: datetime) -> Iterator[tuple[Place, Any]]:
        """Yield what is on the pages of ``[start, end)``. Raises Moved, behind some of it: they do not fit together."""
        seen: set[str] = set()
        page: Page | None = None
        for page in self._pages(start, end):
            listed = page.document.at(page.found, self.items)
            for item in listed:
                id = str(self._of(page, item, self.id))
                if id in seen:
                    raise Moved(
                        f"{shown(self.url)} brings {id[:80]!r} twice, the second time on page {page.number}."
                    )
                seen.add(id)
                at = self._instant(page, item)
                if start <= at < end:
                    yield (at, id), item
        if page is not None and page.total is not None and page.total != page.had:
            raise Moved(f"{shown(self.url)} says that there are {page.total} items, and brings {page.had}.")

    def _pages(self, start: datetime, end: datetime) -> Iterator[Page]:
        begin, until = self._spelled(start - self.margin, end + self.margin)
        base = asking(self.url, {self.since: begin, self.until: until})
        url: str | None = self.pages.begin(base)
        asked: set[str] = set()
        page: Page | None = None
        while url is not None:
            if url in asked or len(asked) >= MOST_PAGES:
                raise Moved(
                    f"{shown(self.url)} has pages that lead in a circle: page {len(asked)} leads back."
                )
            asked.add(url)
            document, found = self._get(url)
            listed = document.at(found, self.items)
            if not isinstance(listed, list):
                raise WrongContent(
                    f"{shown(url)} has no list at {self.items!r}, but a {type(listed).__name__}."
                )
            number, had = len(asked), (page.had if page is not None else 0) + len(listed)
            total = self._total(document, found)
            if page is not None and total is not None and page.total is not None and total < page.total:
                raise Moved(
                    f"{shown(self.url)} has {total} items on page {number}, and had {page.total} before."
                )
            before = replace(page, before=None) if page is not None else None  # or all of them stay in memory
            page = Page(base, document, found, number, len(listed), had, total, before)
            yield page
            url = self.pages.following(page)

    def _get(self, url: str) -> tuple[Document, Any]:
        """Return a page, asked for until it comes. Raises RemoteError: it does not."""
        own = self.headers() if callable(self.headers) else self.headers
        fetch = Fetch(
            time_limit=self.time_limit.total_seconds(),
            size_limit=self.size_limit,
            needs_length=False,  # a JSON text that was cut short is none
            headers={"User-Agent": self.user_agent, "Accept": "application/json, */*;q=0.5"},
            own_headers=own,
            tls=self.tls,
        )
        for again in range(self.retries + 1):
            try:
                document = fetch.get(url)
                assert document is not None  # nobody asked whether there is anything new
                try:
                    return document, document.json(decimals=self.decimals)
                except WrongContent as error:
                    raise Unreadable(str(error)) from error
            except RemoteError as error:
                passing = isinstance(error, (Unreachable, TimedOut, Truncated, Unreadable)) or (
                    isinstance(error, WrongStatus) and error.status in PASSING
                )
                if not passing:
                    raise
                if again == self.retries:
                    error.add_note(f"It was asked for {again + 1} times.")
                    raise
                self._rest(again, error)
        raise AssertionError("unreachable")

    def _rest(self, again: int, error: RemoteError | None) -> None:
        """Wait before it is asked again. Raises the error: the server says that this would take too long."""
        told = waiting(error.retry_after) if isinstance(error, WrongStatus) else None
        if told is not None and told > self.longest_pause and error is not None:
            error.add_note(f"It is not waited for: longest_pause is {self.longest_pause}.")
            raise error
        pause = told if told is not None else min(self.pause * 2**again, self.longest_pause)
        # Not all at the same instant, where several were turned away together.
        time.sleep(pause.total_seconds() * (1 + random.random() / 4))

    def _total(self, document: Document, found: Any) -> int | None:
        if not self.total:
            return None
        total = document.at(found, self.total)
        if not isinstance(total, int) or isinstance(total, bool):
            raise WrongContent(
                f"{shown(document.url)} has no number at {self.total!r}, but {str(total)[:80]!r}."
            )
        return total

    def _of(self, page: Page, item: Any, path: str) -> Any:
        value = page.document.at(item, path)
        if value is None or isinstance(value, (dict, list)):
            raise WrongContent(f"{shown(self.url)} has an item on page {page.number} without {path!r}.")
        return value

    def _instant(self, page: Page, item: Any) -> datetime:
        told = self._of(page, item, self.at)
        try:
            if isinstance(told, str):
                at = datetime.fromisoformat(told)
                if at.tzinfo is None:
                    if self.tz is None:
                        raise ValueError("it has no offset; say in which zone it is, by tz")
                    at = at.replace(tzinfo=self.tz)
                return at.astimezone(UTC)
            if isinstance(told, bool):
                raise ValueError("it is no instant")
            if isinstance(told, Decimal):
                return EPOCH + timedelta(microseconds=int(told.scaleb(6).to_integral_value()))
            return EPOCH + timedelta(seconds=told)
        except (ValueError, OverflowError, TypeError, ArithmeticError) as error:
            what = f"has an item on page {page.number} whose {self.at} is {str(told)[:80]!r}"
            raise WrongContent(f"{shown(self.url)} {what}: {error}.") from error

    def _spelled(self, start: datetime, end: datetime) -> tuple[str, str]:
        if callable(self.spelled):
            return self.spelled(start), self.spelled(end)
        if self.spelled == "unix":
            second = timedelta(seconds=1)
            return str((start - EPOCH) // second), str(-((EPOCH - end) // second))
        return tuple(at.astimezone(UTC).isoformat().replace("+00:00", "Z") for at in (start, end))  # type: ignore[return-value]

    def _any(self, start: datetime, end: datetime) -> bool:
        """Whether there is anything in ``[start, end)``."""
        for page in self._pages(start, end):
            for item in page.document.at(page.found, self.items):
                if start <= self._instant(page, item) < end:
                    return True
        return False

    def _end(self, start: datetime, end: datetime, *, first: bool) -> datetime | None:
        """Return the instant of the first (or last) item in ``[start, end)``, by halves."""
        if start >= end:
            return None
        if end - start <= self.step:
            rows = self._step(start, end)
            return rows[0 if first else -1][0][0] if rows else None
        if not self._any(start, end):
            return None
        middle = start + (end - start) / 2
        halves = [(start, middle), (middle, end)]
        for half in halves if first else reversed(halves):
            found = self._end(*half, first=first)
            if found is not None:
                return found
        return None


def asking(url: str, params: Mapping[str, str]) -> str:
    """Return a URL that asks for these parameters besides its own; of the same name, ours take the place."""
    if not params:
        return url
    parts = urlsplit(url)
    kept = [
        (name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in params
    ]
    return parts._replace(query=urlencode([*kept, *params.items()])).geturl()


def found_at(found: Any, path: str) -> Any:
    """Return what stands at a path, None where nothing does."""
    for name in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def whole(page: Page, path: str) -> int:
    """Return a whole number of a page. Raises WrongContent: there is none."""
    value = page.document.at(page.found, path)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongContent(f"{shown(page.base)} has no number at {path!r}, but {str(value)[:80]!r}.")
    return value


def waiting(told: str | None) -> timedelta | None:
    """Return what a server says of how long to wait; None where it says nothing that can be understood."""
    if not told:
        return None
    try:
        if told.strip().isdigit():
            return timedelta(seconds=int(told))
        at = parsedate_to_datetime(told)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(at - datetime.now(UTC), timedelta(0))


def spelled_value(value: Any) -> str:
    """Return a parameter's value as a URL has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


__all__: Sequence[str] = (
    "Cursors", "HTTPHistory", "Moved", "NextLinks", "Page", "PageNumbers", "Unreadable",
)  # fmt: skip
