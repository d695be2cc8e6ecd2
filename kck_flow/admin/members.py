"""The members of a stock: a saved filter on the list that the site already has of the model, whose columns, search,
permissions and actions stay its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..dashboards import members
from ..dashboards.members import FACET, STOCK
from ..errors import KckFlowError
from ..permission import VIEW, may
from ..registry import registry

# So many values of a facet are offered.
OFFERED = 20


class StockFilter(admin.ListFilter):
    """The members of one of the stocks that count a model's rows; of one facet value of it, where chosen.

    ``list_filter = [StockFilter]`` in any ModelAdmin, or ``kck_flow.admin.extend(site)`` for all of them. A model that
    no stock counts has no such filter.
    """

    title = gettext_lazy("stock")
    parameter_name = STOCK

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.user = request.user
        self.given: dict[str, str] = {}
        self.stocks = [key for key in members.stocks_of(model) if may(self.user, VIEW, key)]
        for name in (STOCK, FACET):
            if name in params:
                given = params.pop(name)
                self.given[name] = self.used_parameters[name] = (
                    given[-1] if isinstance(given, list) else given
                )
        self.members: members.Members | None = None
        if self.given.get(STOCK):
            self.members = self._chosen(model)
            _say(request, self.members)

    def _chosen(self, model: Any) -> members.Members:
        try:
            key = registry.key(self.given[STOCK])
            found = members.Members(key, read_facets(self.given.get(FACET)))
        except (KckFlowError, ValueError) as error:
            raise IncorrectLookupParameters(error) from error
        if not may(self.user, VIEW, key) or not members.counts_rows_of(key, model):
            raise IncorrectLookupParameters(f"{str(key)!r}")
        return found

    def has_output(self) -> bool:
        return bool(self.stocks) or self.members is not None

    def expected_parameters(self) -> list[str | None]:
        return [STOCK, FACET]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.members is None:
            return queryset
        rows = self.members.rows().order_by().using(queryset.db)
        return queryset.filter(pk__in=rows.values("pk"))

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield all, each stock, and below the one that is chosen each value of its facets."""
        chosen = self.members
        yield {
            "selected": chosen is None,
            "query_string": changelist.get_query_string(remove=[STOCK, FACET]),
            "display": _("All"),
        }
        listed = list(self.stocks)
        if chosen is not None and chosen.key not in listed:
            listed.append(chosen.key)
        for key in listed:
            here = chosen is not None and key == chosen.key
            yield {
                "selected": here and chosen is not None and not chosen.facets,
                "query_string": changelist.get_query_string({STOCK: str(key)}, remove=[FACET]),
                "display": members.name_of(key),
            }
            if chosen is not None and here:
                for facets, text in chosen.choices(OFFERED):
                    yield {
                        "selected": facets == chosen.facets,
                        "query_string": changelist.get_query_string(
                            {STOCK: str(key), FACET: write_facets(facets)}
                        ),
                        "display": f"› {text}",
                    }


def read_facets(text: str | None) -> dict[str, Any]:
    """Return the facet values that an address names. Raises ValueError: it names none."""
    if not text:
        return {}
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{FACET} is an object of facets, not {text!r}.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def write_facets(facets: Mapping[str, Any]) -> str:
    """Return facet values as an address names them."""
    return json.dumps(dict(facets), default=str, separators=(",", ":"))


def _say(request: HttpRequest, chosen: members.Members) -> None:
    """Say above the list whose members these are, once a page: as a message, which every list shows, whatever its
    template.
    """
    if request.method != "GET" or getattr(request, "_kck_said", False) or not hasattr(request, "_messages"):
        return
    request._kck_said = True  # type: ignore[attr-defined]
    text = chosen.sentence()
    where, name = chosen.process(request.user)
    if where:
        link = format_html(' <a href="{}">{}</a>', where, _("See %(process)s") % {"process": name})
        text = format_html("{}{}", text, link)
    messages.info(request, text)
