"""The rows behind a stock's number: a page of them by key, stable while rows come and go; whose they are, in words."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from django.apps import apps
from django.core.exceptions import ValidationError
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import wording
from ..cache.facade import Cache
from ..definition import model_of
from ..errors import KckFlowError
from ..key import Key
from ..metric import Metric
from ..permission import VIEW, may, may_see_rows
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from . import reading
from .captions import caption
from .faces import Refused
from .pages import Page, address, href

# How the admin's list of a model is asked for the members of a stock.
STOCK, FACET = "kck_stock", "kck_facet"
PER_PAGE, CSV_CHUNK = 100, 2000
# So many rows are counted for a page that states how many there are now; of more, only when asked.
COUNTED: Final = 10_000
_SECRET = re.compile(r"passw|secret|token|api_?key|private_?key|credential", re.IGNORECASE)


@dataclass
class Members:
    """The members of a stock, or of some facet values of it.

    Attributes:
        key: Of the stock.
        facets: Facet name to value, as of ``Cache.members``.
    """

    key: Key
    facets: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError: it is no stock, or Python alone tells its members, or it has no such facet."""
        self.facets = {name: self._typed(name, value) for name, value in self.facets.items()}
        self.rows()

    @property
    def stock(self) -> Stock:
        found = registry.primer(self.key.key_base)
        if not isinstance(found, Stock):
            raise ValueError(f"{str(self.key)!r} is no stock: it has no members.")
        return found

    def rows(self) -> Any:
        """Return them, in the order of the primary key."""
        return Cache.get_instance().members(self.key, **self.facets)

    def shown(self) -> reading.Shown:
        """Return the stock as it is stored."""
        known: reading.Shown | None = getattr(self, "_shown", None)
        if known is None:
            known = self._shown = reading.read([self.key])[self.key]
        return known

    def counted(self) -> Any:
        """Return how many there are as it is stored; None where that is not known."""
        value = self.shown().value
        if not self.facets:
            return reading.number_of(value)
        if len(self.facets) != 1 or not isinstance(value, Mapping):
            return None
        ((name, chosen),) = self.facets.items()
        counts = (value.get("facets") or {}).get(name)
        return counts.get(chosen, 0) if isinstance(counts, Mapping) else None

    def is_a_count(self) -> bool:
        """Whether the stock's number is how many rows it has, and no sum over them."""
        return self.stock.measure is None

    def choices(self, most: int) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the facet values to choose from, as they are stored: ({facet: value}, in words) each."""
        value = self.shown().value
        counts = (value.get("facets") or {}) if isinstance(value, Mapping) else {}
        for facet in self.stock.facets:
            known = counts.get(facet.name)
            if not isinstance(known, Mapping):
                continue
            by_size = (
                sorted(known.items(), key=lambda one: -(one[1] or 0))
                if facet.values is None
                else known.items()
            )
            for one, count in list(by_size)[:most]:
                yield {facet.name: one}, f"{facet.label} = {facet_text(one)} ({wording.number(count)})"

    def sentence(self) -> Any:
        """Return whose members these are, how many were counted, and when."""
        shown = self.shown()
        label = name_of(self.key)
        of = ", ".join(f"{name} = {facet_text(value)}" for name, value in self.facets.items())
        facets = f" ({_('facet')} {of})" if of else ""
        count = self.counted()
        if count is None or not self.is_a_count():
            counted = ""
        elif shown.version and shown.age is not None:
            counted = _("%(count)s counted %(age)s.") % {
                "count": wording.number(count),
                "age": wording.age(shown.age),
            }
        else:
            counted = _("%(count)s counted, as of now.") % {"count": wording.number(count)}
        text = _("Showing members of %(stock)s%(facets)s:")
        told = format_html(
            text.replace("%(stock)s", "{}").replace("%(facets)s", "{}"), _strong(label), facets
        )
        return format_html("{} {}", told, counted) if counted else format_html("{}", told.removesuffix(":"))

    def process(self, user: Any) -> tuple[str, str]:
        """Return the page of a process that this stock is part of, (address, name); of the stock itself where it is in
        none; empty where the project includes no pages.
        """
        where, name = self.key, name_of(self.key)
        for primer in registry.unique():
            if isinstance(primer, Process) and may(user, VIEW, primer.name):
                found = _key_of_process(primer, self.stock, self.key)
                if found is not None:
                    where, name = found, primer.text
                    break
        page = href(caption(where))
        return (page, name) if page else ("", "")

    def _typed(self, name: str, value: Any) -> Any:
        """Return a facet value as the stock's own has it: an address knows texts alone."""
        facet = next((one for one in self.stock.facets if one.name == name), None)
        if facet is None:
            known = ", ".join(one.name for one in self.stock.facets) or "none"
            raise ValueError(f"{self.stock.name!r} has no facet {name!r}. Its facets are: {known}.")
        counts = self.shown().value
        known_values = (counts.get("facets") or {}).get(name, {}) if isinstance(counts, Mapping) else {}
        for one in known_values:
            if one == value and type(one) is type(value):
                return one
        return next((one for one in known_values if as_text(one) == as_text(value)), value)


def _strong(text: str) -> Any:
    return format_html("<strong>{}</strong>", text)


def as_text(value: Any) -> str:
    """Return a facet value as an address has it: a text as it is, unless it is empty; anything else as JSON."""
    return json.dumps(value, default=str) if not isinstance(value, str) or not value else value


def facet_text(value: Any) -> str:
    """Return a facet value in words."""
    if isinstance(value, tuple):
        return " × ".join(map(facet_text, value))
    if value is None or value == "":
        return _("none") if value is None else _("empty")
    return str(value)


def name_of(key: Key) -> str:
    """Return what a stock is called by people."""
    return caption(key).label


def _key_of_process(process: Process, stock: Stock, key: Key) -> Key | None:
    """Return the key of a process that a stock's key is part of; None where it is in it not."""
    try:
        stocks, _flows = registry.parts(process)
        if stock not in stocks:
            return None
        names = [one.name for one in process.parameters]
        return process.build_key(**{name: key.params[name] for name in names if name in key.params})
    except (KckFlowError, ValueError):
        return None


def stocks_of(model: Any) -> list[Key]:
    """Return the stocks that can be said without parameters and count rows of a model, by name."""
    return [
        primer.build_key()
        for primer in registry.unique()
        if isinstance(primer, Stock)
        and not primer.parameters
        and primer.tracker is None
        and _model_of(primer) is model._meta.concrete_model
    ]


def counts_rows_of(key: Key, model: Any) -> bool:
    """Whether a key is of a stock that counts rows of a model."""
    primer = registry.primers.get(key.key_base)
    return isinstance(primer, Stock) and _model_of(primer) is model._meta.concrete_model


def _model_of(stock: Stock) -> Any:
    try:
        return model_of(stock)._meta.concrete_model
    except Exception:  # declared wrongly: told by the checks
        return None


# -- where they are


def list_address(found: Members, user: Any, site: Any = None) -> str:
    """Return the address of an admin's own list of them; empty where the model has none that knows its stocks.

    Args:
        site: An AdminSite; the project's default where not given.
    """
    if not apps.is_installed("django.contrib.admin"):
        return ""
    if site is None:
        from django.contrib import admin

        site = admin.site
    model = model_of(found.stock)
    if not site.is_registered(model) or not getattr(user, "is_staff", False):
        return ""
    page = site.get_model_admin(model)
    if not knows_stocks(page):
        return ""
    try:
        path = reverse(f"{site.name}:{model._meta.app_label}_{model._meta.model_name}_changelist")
    except NoReverseMatch:
        return ""
    given = {STOCK: str(found.key)}
    if found.facets:
        given[FACET] = json.dumps(found.facets, default=str, separators=(",", ":"))
    return f"{path}?{urlencode(given)}"


def knows_stocks(page: Any) -> bool:
    """Whether a ModelAdmin's list can be asked for the members of a stock."""
    listed = getattr(page, "kck_filters", page.list_filter) or ()
    return any(getattr(one, "parameter_name", "") == STOCK for one in listed)


def rows_href(key: Key, user: Any, facets: Mapping[str, str] | None = None) -> str:
    """Return where the rows behind a stock's number are, or behind that of a facet value (as parameters of an address);
    empty where there are none, or the user may not see them.
    """
    primer = registry.primers.get(key.key_base)
    if not isinstance(primer, Stock):
        return ""
    model = primer.model if isinstance(primer.model, type) else None
    if model is None or not may_see_rows(user, model):
        return ""
    try:
        return address("members", key, **(facets or {}))
    except NoReverseMatch:
        return ""


def why_none(key: Key, user: Any) -> str:
    """Return why no rows are shown behind a product's number, in words; empty where they are."""
    if rows_href(key, user):
        return ""
    primer = registry.primers.get(key.key_base)
    if isinstance(primer, Stock):
        if not isinstance(primer.model, type):
            return _("The rows behind this number are told by the program that counts them.")
        return _("You may not see the rows behind this number.")
    if isinstance(primer, Flow):
        return _("This number counts what moved, and not rows: who has moved may have moved on.")
    if isinstance(primer, Metric):
        return _("This number is measured: no list of rows is kept of it.")
    return ""


# -- a page of them


def asked_for(key: Key, user: Any, asked: Mapping[str, str]) -> Members:
    """Return the members that an address names.

    Raises:
        Refused: there are none, or the user may not see rows of the model.
    """
    primer = registry.primers.get(key.key_base)
    if not isinstance(primer, Stock):
        raise Refused(404, "Not found", f"{str(key)!r} is no stock: it has no members.")
    if not may_see_rows(user, model_of(primer)):
        known = user is not None and user.is_authenticated
        name = model_of(primer)._meta.verbose_name_plural
        raise Refused(
            403 if known else 401,
            _("Not permitted") if known else _("Not logged in"),
            _(
                "The number of %(stock)s may be seen; who they are may be seen by those only who may see %(rows)s."
            )
            % {"stock": primer.text, "rows": name},
        )
    try:
        return Members(key, dict(asked))
    except (ValueError, KckFlowError) as error:
        raise Refused(404, "Not found", str(error)) from None


def page(found: Members, user: Any, limit: int | None, token: str, *, exactly: bool, whole: bool) -> Page:
    """Return a page of the members of a stock.

    Args:
        limit: How many rows; None for a page's worth.
        token: From where on, as ``next`` of another page says.
        exactly: Whether to count them now, however many.
        whole: Whether its CSV has all the rows from there on.

    Raises:
        Refused: the token is none.
    """
    model = model_of(found.stock)
    fields = [one for one in model._meta.concrete_fields if not _SECRET.search(one.name)]
    columns = ["text", *(one.attname for one in fields)]
    rows, backward, start = found.rows(), *_read(token, model)
    many = limit or PER_PAGE
    behind = rows
    if start is not None:
        behind = rows.filter(pk__lt=start).order_by("-pk") if backward else rows.filter(pk__gt=start)
    listed = list(behind[: many + 1])
    further = len(listed) > many
    listed = listed[:many]
    if backward:
        listed.reverse()
    after = _token(False, listed[-1].pk) if listed and (further or backward) else None
    before = _token(True, listed[0].pk) if listed and (further if backward else start is not None) else None
    now = rows.order_by().count() if exactly else rows.order_by()[: COUNTED + 1].count()
    names = given(found.facets)
    here: dict[str, Any] = {**names, "limit": limit}
    words = caption(found.key)
    return Page(
        "members.html",
        _("Members of %(stock)s") % {"stock": words.label},
        columns=columns,
        rows=[_row(one, fields) for one in listed],
        meta={
            "key": str(found.key),
            "label": words.label,
            "facets": found.facets,
            "counted": found.counted() if found.is_a_count() else None,
            "counted_at": found.shown().computed_at,
            "now": now if exactly or now <= COUNTED else None,
        },
        context={
            "sentence": found.sentence(),
            "now_text": _now_text(now, exactly, model),
            "count_href": "" if exactly or now <= COUNTED else address("members", found.key, count="exact", **names),
            "listed": [(str(one.pk), str(one), [_cell(one, field) for field in fields[1:9]]) for one in listed],
            "heads": [str(one.verbose_name) for one in fields[1:9]],
            "facet_choices": [
                (text, address("members", found.key, **given(one)), one == found.facets)
                for one, text in found.choices(20)
            ],
            "all_href": address("members", found.key),
            "stock_href": href(words),
            "process": found.process(user),
            "next_href": address("members", found.key, next=after, **here) if after else "",
            "previous_href": address("members", found.key, next=before, **here) if before else "",
        },
        next=after if not whole else None,
        csv_rows=(lambda: _all(columns, rows if backward else behind, fields)) if whole else None,
        facts=[now, str(found.counted())],
    )  # fmt: skip


def given(facets: Mapping[str, Any]) -> dict[str, str]:
    """Return facet values as parameters of an address."""
    return {f"facet.{name}": as_text(value) for name, value in facets.items()}


def _all(columns: list[str], rows: Any, fields: Sequence[Any]) -> Iterator[list[Any]]:
    yield columns
    for one in rows.iterator(chunk_size=CSV_CHUNK):
        yield [str(one), *(getattr(one, field.attname) for field in fields)]


def _row(one: Any, fields: Iterable[Any]) -> dict[str, Any]:
    return {"text": str(one), **{field.attname: getattr(one, field.attname) for field in fields}}


def _cell(one: Any, field: Any) -> str:
    value = getattr(one, field.attname)
    if value is None:
        return wording.MISSING
    if hasattr(value, "tzinfo"):
        return wording.instant(value) if value.tzinfo else str(value)
    return str(value)[:200]


def _now_text(count: int, exactly: bool, model: Any) -> str:
    name = model._meta.verbose_name_plural
    if not exactly and count > COUNTED:
        return _("More than %(count)s %(rows)s now.") % {"count": wording.number(COUNTED), "rows": name}
    text = ngettext("%(count)s now.", "%(count)s now.", count)
    return text % {"count": wording.number(count)}


def _token(backward: bool, pk: Any) -> str:
    text = json.dumps([int(backward), pk], default=str)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(token: str, model: Any) -> tuple[bool, Any]:
    if not token:
        return False, None
    try:
        backward, pk = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return bool(backward), model._meta.pk.to_python(pk)
    except (ValueError, TypeError, ValidationError):
        raise Refused(
            400, "Bad parameter", f"next is what another page said, not {token!r}.", parameter="next"
        ) from None
