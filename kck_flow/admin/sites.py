"""On which admin site what is shown, and what is added to the pages that a project has there already."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template import TemplateDoesNotExist
from django.template.loader import select_template

from ..dashboards import members as counted
from ..models import (
    Annotation,
    ConfiguredDashboard,
    ConfiguredMetric,
    DataProduct,
    Event,
    Record,
    Refresh,
    Run,
)
from ..registry import registry
from ..stock import Stock
from .annotations import AnnotationAdmin
from .dashboards import ConfiguredDashboardAdmin
from .events import EventAdmin, FlowHistory, _subjects, flow_urls, typed_events
from .members import StockFilter
from .metrics import ConfiguredMetricAdmin
from .products import ProductAdmin
from .records import RecordAdmin
from .refreshes import RefreshAdmin
from .runs import RunAdmin

PAGES: dict[Any, Any] = {
    DataProduct: ProductAdmin,
    Refresh: RefreshAdmin,
    Run: RunAdmin,
    Record: RecordAdmin,
    Event: EventAdmin,
    ConfiguredMetric: ConfiguredMetricAdmin,
    ConfiguredDashboard: ConfiguredDashboardAdmin,
    Annotation: AnnotationAdmin,
}


def register(site: admin.AdminSite) -> None:
    """Show products, refreshes, runs, records, events, metrics and dashboards on an admin site.

    The default site has them already. What a project has registered there itself is left as it is.
    """
    for model, page in PAGES.items():
        if not site.is_registered(model):
            site.register(model, page)


def extend(site: admin.AdminSite) -> list[Any]:
    """Add to the pages that a site has of models that are counted: the filter by stock to their lists, and "History in
    flows" to their rows; and show the project's own models of events that it does not show yet.

    Call it once all pages are registered, in the project's ``urls.py``: ``kck_flow.admin.extend(admin.site)``. Columns,
    search, permissions, actions and templates of those pages stay their own; a page that has a template of its own for
    its rows has the address of the history, and no link to it.

    Returns:
        The models whose pages were added to.
    """
    stocked = {
        model
        for primer in registry.unique()
        if isinstance(primer, Stock) and (model := counted._model_of(primer))
    }
    moved = {model._meta.concrete_model for model in _subjects().values()}
    found = []
    for model, page in list(site._registry.items()):
        concrete = model._meta.concrete_model
        if concrete in stocked and not counted.knows_stocks(page):
            _add_filter(page)
            found.append(model)
        if concrete in moved and not isinstance(page, FlowHistory) and not hasattr(page, "kck_history"):
            _add_history(page)
            found.append(model)
    for events in typed_events():
        if not site.is_registered(events):
            site.register(events, _page_of_events(events))
            found.append(events)
    return list(dict.fromkeys(found))


def _add_filter(page: Any) -> None:
    own = page.get_list_filter

    def get_list_filter(request: HttpRequest) -> list[Any]:
        return [*own(request), StockFilter]

    page.get_list_filter = get_list_filter
    page.kck_filters = [StockFilter]


def _add_history(page: Any) -> None:
    own = page.get_urls

    def get_urls() -> list[Any]:
        return [*flow_urls(page), *own()]

    page.get_urls = get_urls
    page.kck_history = True
    if page.change_form_template is None and not _has_own_template(page.opts):
        page.change_form_template = FlowHistory.change_form_template


def _has_own_template(opts: Any) -> bool:
    try:
        select_template(
            [
                f"admin/{opts.app_label}/{opts.model_name}/change_form.html",
                f"admin/{opts.app_label}/change_form.html",
            ]
        )
    except TemplateDoesNotExist:
        return False
    return True


def _page_of_events(model: Any) -> Any:
    """Return a page of a project's own model of events: the list of all of them, with its subject as who moved."""
    return type(f"{model.__name__}Admin", (EventAdmin,), {})
