"""Remote import: JSON and CSV from HTTP, on a schedule, kept as products.

::

    # prices/primers.py
    from decimal import Decimal

    from kck_flow import On, Primer, StringParameter, every
    from primers import remote


    class Rates(remote.CSVImport):  # what a euro costs, as the bank tells it
        key_base = "rates"
        url = "https://bank.example/rates.csv"
        types = {"rate": Decimal}
        schedule = every(hours=1)


    class Rate(Primer):  # what it costs in one currency
        key_base = "rate"
        parameters = [StringParameter("currency")]
        depends_on = [On("rates", then="refresh")]

        def compute(self, key):
            rates = {row["currency"]: row["rate"] for row in remote.rows("rates")}
            return rates.get(key.params["currency"])

Each hour a worker asks the bank for what is new. Where nothing is (304, or 200 with the rows that we have),
the import keeps its value and its version, and nobody else has anything to do. Otherwise each stored
``rate/…`` is refreshed after the import; until then its readers have the old one.

What is stored is a dict: ``rows`` (what the document says), ``etag`` and ``last_modified`` (what to ask with
next time), ``address`` (a digest of the URL that these belong to). ``remote.rows("rates")`` is its ``rows``.
A server that puts a new date on the same rows is asked for all of them until they change: the value that wakes
nobody has the old date.

What can go wrong is a ``RemoteError`` (``fetching`` has the tree). Then nothing is stored: the last import
stays, and is served as long as ``hard_expire`` and ``stale_if_error`` allow. Trying again is the refresh
engine's (``retries``, ``backoff``), which keeps the error and shows it (``kck runs``, ``kck explain``). A
reader for whom nothing can be served gets ``ComputeFailed``, whose ``cause`` names it.
"""

from __future__ import annotations

import csv
import io
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import quote

from kck_flow import Cache, Key, Primer, every

from .fetching import (
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
    shown,
)

__all__ = [
    "CSVImport", "Document", "Import", "JSONImport", "RemoteError", "TimedOut", "TooLarge", "Truncated",
    "Unreachable", "WrongAddress", "WrongContent", "WrongRedirect", "WrongStatus", "rows",
]  # fmt: skip


def rows(key: str) -> Any:
    """Return what an import has read: the ``rows`` of the product of ``key``. Raises what ``Cache.get`` does.

    In the ``compute`` of another product it is a read like any other, and becomes an edge.
    """
    return Cache.get_instance().get(key)["rows"]


class Import(Primer):
    """Base of the imports: fetches a document on a schedule. How it is read, a subclass says (``read``).

    Attributes:
        url: Where the document is; ``{station}`` stands for the parameter of that name. An import that has
            parameters says in ``domain`` which the schedule fetches, or ``schedule = None``.
        accept: What we say that we would like to have.
        content_types: What it may be (``*`` matches anything); an answer that does not say is taken.
        time_limit: For all of it, redirects and body included.
        size_limit: Bytes, unpacked.
        redirects: How many are followed.
        needs_length: Whether an answer is refused that says neither how long it is nor where it ends: a
            connection that breaks looks like the end of such an answer.
        user_agent: What we call ourselves.
    """

    url: ClassVar[str] = ""
    accept: ClassVar[str] = "*/*"
    content_types: ClassVar[Sequence[str]] = ("*",)
    time_limit: ClassVar[timedelta] = timedelta(seconds=30)
    size_limit: ClassVar[int] = 16 * 1024 * 1024
    redirects: ClassVar[int] = 5
    needs_length: ClassVar[bool] = True
    user_agent: ClassVar[str] = "kck-flow"

    schedule = every(hours=1)
    soft_expire = timedelta(hours=2)  # where no worker keeps the schedule, the first reader after it asks
    compute_limit = timedelta(minutes=5)  # for what no socket can bound: looking up a name

    def compute(self, key: Key) -> dict[str, Any]:
        url = self.address(key)
        address = sha256(url.encode()).hexdigest()[:16]
        last = self.last(key)
        if last is not None and last["address"] != address:
            last = None  # it tells of another document
        document = self.fetch(key, url, last)
        if document is None:
            assert last is not None  # only who asks conditionally is told that nothing is new
            return last
        if not any(fnmatchcase(document.content_type, one) for one in ("", *self.content_types)):
            raise WrongContent(
                f"{shown(url)} sent {document.content_type}, not {' or '.join(self.content_types)}. "
                f"It begins with {document.beginning()}."
            )
        found = self.read(key, document)
        self.check(key, found)
        if last is not None and self.codec.encode(found) == self.codec.encode(last["rows"]):
            # The rows that we have, with another date on them: only an equal value wakes nobody.
            return last
        return {
            "rows": found,
            "etag": document.etag,
            "last_modified": document.last_modified,
            "address": address,
        }

    def fetch(self, key: Key, url: str, last: Mapping[str, Any] | None) -> Document | None:
        """Return the document at ``url``, or None where it is the one that ``last`` was made from."""
        asked = {"User-Agent": self.user_agent, "Accept": self.accept}
        if last is not None:
            conditions = {"If-None-Match": last["etag"], "If-Modified-Since": last["last_modified"]}
            asked |= {name: value for name, value in conditions.items() if value}
        return Fetch(
            time_limit=self.time_limit.total_seconds(),
            size_limit=self.size_limit,
            redirects=self.redirects,
            needs_length=self.needs_length,
            headers=asked,
            own_headers=self.headers(key),
            tls=partial(self.tls, key),
        ).get(url)

    def last(self, key: Key) -> dict[str, Any] | None:
        """Return what is stored, if it may be served: what was invalidated is fetched whole in any case."""
        # `explain` tells it, and not `get`: an import is not made from itself, so reading it here must not
        # become an edge, nor ask for the refresh that is under way.
        value = Cache.get_instance().explain(key)["value"]
        return value if isinstance(value, dict) and "address" in value else None

    # -- what a declaration defines --------------------------------------------------------------------------

    def read(self, key: Key, document: Document) -> Any:
        """Return the rows of a document. Raises WrongContent."""
        raise NotImplementedError(f"{type(self).__name__} does not define read(self, key, document).")

    # -- what a declaration may override ---------------------------------------------------------------------

    def address(self, key: Key) -> str:
        """Return the URL of the document of ``key``: ``url``, with its parameters filled in and escaped.

        Raises:
            WrongAddress: a parameter is ``.`` or ``..``, which would lead to another part of the server.
        """
        parts = {one.name: one.to_text(key.params[one.name]) for one in self.parameters}
        for name, text in parts.items():
            if text in (".", ".."):
                raise WrongAddress(f"{str(key)!r}: {name} is {text!r}, which cannot be part of a URL.")
        return self.url.format(**{name: quote(text, safe="") for name, text in parts.items()})

    def headers(self, key: Key) -> Mapping[str, str]:
        """Return headers of your own, such as ``{"Authorization": f"Bearer {settings.BANK_TOKEN}"}``.

        They go to the scheme, host and port of ``url``, and nowhere else that a redirect may lead.
        """
        return {}

    def tls(self, key: Key) -> ssl.SSLContext:
        """Return how ``https`` is spoken: here, certificates must be those of the system's authorities."""
        return ssl.create_default_context()

    def check(self, key: Key, rows: Any) -> None:
        """Look at rows that were read well, and raise WrongContent where they cannot be right: none, say."""


class JSONImport(Import):
    """A JSON document. Its ``rows`` are whatever it is, or what stands in it at ``path``.

    Attributes:
        path: Names joined by dots: ``"data.items"`` are the items of ``{"data": {"items": […]}}``.
        decimals: Whether numbers with a fraction become ``Decimal``, to the digit, instead of ``float``.
    """

    path: ClassVar[str] = ""
    decimals: ClassVar[bool] = False

    accept = "application/json, */*;q=0.5"
    content_types = (
        "application/json", "application/*+json", "text/json", "text/plain", "application/octet-stream",
    )  # fmt: skip
    needs_length = False  # a JSON text that was cut short is none

    def read(self, key: Key, document: Document) -> Any:
        return document.at(document.json(decimals=self.decimals), self.path)


class CSVImport(Import):
    """A table. Its ``rows`` are a list of dicts, one for each line, in order.

    Attributes:
        encoding: Of a text whose server does not say.
        dialect, delimiter: As for ``csv.reader``; a delimiter takes the place of that of the dialect.
        header: The names of the columns, for a table without a first line that has them.
        types: What makes a value of a column's text: ``{"rate": Decimal, "day": date.fromisoformat}``. An
            empty text becomes None. These columns must be there; the others stay texts.
    """

    encoding: ClassVar[str] = "utf-8"
    dialect: ClassVar[str | type[csv.Dialect]] = "excel"
    delimiter: ClassVar[str | None] = None
    header: ClassVar[Sequence[str] | None] = None
    types: ClassVar[Mapping[str, Callable[[str], Any]]] = {}

    accept = "text/csv, */*;q=0.5"
    content_types = (
        "text/csv", "text/plain", "text/tab-separated-values", "application/csv", "application/vnd.ms-excel",
        "application/octet-stream",
    )  # fmt: skip

    def read(self, key: Key, document: Document) -> list[dict[str, Any]]:
        text = document.text(self.encoding)
        if text[:100].lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
            raise WrongContent(f"{shown(document.url)} sent no table. It begins with {document.beginning()}.")
        options: dict[str, Any] = {"delimiter": self.delimiter} if self.delimiter is not None else {}
        # strict: a quote that is never closed is an error, and not one value to the end of the table
        lines = csv.reader(io.StringIO(text, newline=""), self.dialect, strict=True, **options)
        try:
            names = self.names(lines)
            return [self.row(names, values) for values in lines if values]
        except (csv.Error, ValueError) as error:
            raise WrongContent(f"{shown(document.url)}, line {max(lines.line_num, 1)}: {error}.") from error

    def names(self, lines: Iterator[list[str]]) -> list[str]:
        """Return the names of the columns: ``header``, or those of the first line.

        Raises:
            ValueError: there are none, two are the same, or one that ``types`` needs is missing.
        """
        names = [name.strip() for name in (self.header if self.header is not None else next(lines, []))]
        if not names or "" in names or len(set(names)) < len(names):
            raise ValueError(
                f"the columns must have names, each its own, and have {names}; give them as header"
            )
        for name in self.types:
            if name not in names:
                raise ValueError(f"there is no column {name!r}; there are {', '.join(map(repr, names))}")
        return names

    def row(self, names: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
        """Return one line. Raises ValueError: it is too short, too long, or a value is not of its type."""
        if len(values) != len(names):
            raise ValueError(f"{len(values)} values for {len(names)} columns")
        row: dict[str, Any] = dict(zip(names, values, strict=True))
        for name, kind in self.types.items():
            try:
                row[name] = kind(row[name]) if row[name] else None
            except Exception as error:  # whatever a type raises: Decimal's is no ValueError
                named = getattr(kind, "__qualname__", repr(kind))
                raise ValueError(f"{name} is {row[name]!r}, which {named} does not take") from error
        return row
