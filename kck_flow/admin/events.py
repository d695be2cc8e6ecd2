"""Events: each transition that flows have kept, in one list; and those of one row, beside its own history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import wording
from ..conf import conf
from ..models import Event, FlowEvent
from ..permission import VIEW, may, may_see_rows
from ..registry import registry
from ..stock import Flow
from .lists import AppFilter, DatabaseFilter, FamilyFilter, ReadOnly, shown, when

# So many transitions of one row are shown on a page.
SHOWN = 100


class FlowFilter(FamilyFilter):
    """Events of one flow."""

    title = gettext_lazy("flow")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        named = super().lookups(request, model_admin)
        return [
            (name, registry.primers[name].text)
            for name, _label in named
            if isinstance(registry.primers[name], Flow)
        ]


class EventAdmin(ReadOnly):
    """Newest first: who moved, from where, to where, when, by which flow."""

    list_display = ("moved_at", "subject", "flow", "from_stock", "to_stock", "facets_line", "told")
    list_filter = (FlowFilter, AppFilter, ("at", admin.DateFieldListFilter), DatabaseFilter)
    search_fields = ("subject_id",)
    search_help_text = gettext_lazy("The primary key of a row")
    actions = ("export",)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        term = search_term.strip()
        return (queryset.filter(subject_id=term) if term else queryset), False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who moved is told to those only who may see the rows."""
        allowed = super().has_view_permission(request, obj)
        model = _model_of(obj) if obj is not None else None
        return allowed and (model is None or may_see_rows(request.user, model))

    def get_queryset(self, request: HttpRequest) -> Any:
        unseen = [label for label, model in _subjects().items() if not may_see_rows(request.user, model)]
        rows = super().get_queryset(request)
        return rows.exclude(subject_type__in=unseen) if unseen and _has_type(self.model) else rows

    def look_up(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_up(request, rows)
        for row in rows:
            row.link = _subject_address(self.admin_site, row)

    @admin.display(description=gettext_lazy("when"))
    def moved_at(self, obj: Any) -> str:
        return when(obj.at, None)

    @admin.display(description=gettext_lazy("who"))
    def subject(self, obj: Any) -> Any:
        text = f"{obj.subject_type} {obj.subject_id}" if _has_type(self.model) else str(obj.subject_id)
        address = getattr(obj, "link", "")
        return format_html('<a href="{}">{}</a>', address, text) if address else text

    @admin.display(description=gettext_lazy("flow"))
    def flow(self, obj: Any) -> str:
        return stock_text(obj.key_base)

    @admin.display(description=gettext_lazy("from"))
    def from_stock(self, obj: Any) -> str:
        return stock_text(obj.source)

    @admin.display(description=gettext_lazy("to"))
    def to_stock(self, obj: Any) -> str:
        return stock_text(obj.sink)

    @admin.display(description=gettext_lazy("as it was"))
    def facets_line(self, obj: Any) -> str:
        return facets_text(obj.facets)

    @admin.display(description=gettext_lazy("told"))
    def told(self, obj: Any) -> str:
        return str(obj.callback_state)


def stock_text(key_base: str | None) -> str:
    """Return what a stock or flow is called; outside for none."""
    if key_base is None:
        return _("outside")
    primer = registry.primers.get(key_base)
    return primer.text if primer is not None else key_base


def facets_text(facets: Any) -> str:
    """Return the facets of an event in a line."""
    if not isinstance(facets, dict):
        return ""
    return ", ".join(f"{name} {wording.MISSING if one is None else one}" for name, one in facets.items())


def _has_type(model: Any) -> bool:
    return any(field.name == "subject_type" for field in model._meta.concrete_fields)


def _subjects() -> dict[str, Any]:
    """Return the models whose rows flows move, by label."""
    found: dict[str, Any] = {}
    for primer in registry.unique():
        if isinstance(primer, Flow):
            try:
                model = registry.ends(primer)[2][0].model
            except Exception:  # told by the checks
                continue
            model = apps.get_model(model) if isinstance(model, str) else model
            if isinstance(model, type):
                found[model._meta.label] = model
    return found


def _model_of(event: Any) -> Any:
    if not _has_type(type(event)):
        return type(event)._meta.get_field("subject").related_model
    try:
        return apps.get_model(event.subject_type)
    except (LookupError, ValueError):
        return None


def _subject_address(site: Any, event: Any) -> str:
    model = _model_of(event)
    if model is None or event.subject_id is None or not site.is_registered(model):
        return ""
    name = f"{site.name}:{model._meta.app_label}_{model._meta.model_name}_change"
    try:
        return reverse(name, args=[quote(str(event.subject_id))])
    except NoReverseMatch:
        return ""


# -- one row's


def typed_events() -> list[Any]:
    """Return the models of the project's own that keep events."""
    return [model for model in apps.get_models() if issubclass(model, FlowEvent)]


def of_row(obj: Any, user: Any, before: int | None = None) -> list[dict[str, Any]]:
    """Return the transitions of one row that flows have kept, newest first; of flows that the user may see.

    Args:
        before: Only those of the shared table with a smaller id.
    """
    model = type(obj)._meta.concrete_model
    labels = [one._meta.label for one in (model, *model._meta.get_parent_list())]
    found: list[Any] = []
    for alias in conf.DATABASES:
        rows = Event._default_manager.using(alias).filter(subject_type__in=labels, subject_id=str(obj.pk))
        found += rows.order_by("-id")[: SHOWN + 1]
    for events in typed_events():
        related = events._meta.get_field("subject").related_model
        if related is not None and issubclass(model, related):
            rows = events._default_manager.filter(subject_id=obj.pk)
            found += rows.order_by("-id")[: SHOWN + 1]
    found.sort(key=lambda one: (one.at, one.id), reverse=True)
    return [
        {
            "at": wording.instant(one.at),
            "flow": stock_text(one.key_base),
            "key_base": one.key_base,
            "source": stock_text(one.source),
            "sink": stock_text(one.sink),
            "facets": facets_text(one.facets),
            "together": one.xact,
        }
        for one in found
        if may(user, VIEW, one.key_base)
    ]


def show_flows(page: Any, request: HttpRequest, object_id: str) -> HttpResponseBase:
    """Show what flows have kept of one row of a ModelAdmin."""
    obj = page.get_object(request, unquote(object_id))
    if obj is None:
        gone: HttpResponseBase = page._get_obj_does_not_exist_redirect(request, page.opts, object_id)
        return gone
    if not page.has_view_or_change_permission(request, obj):
        raise PermissionDenied
    moved = of_row(obj, request.user)
    context = {
        **page.admin_site.each_context(request),
        "title": _("History in flows: %(obj)s") % {"obj": obj},
        "opts": page.opts,
        "media": page.media,
        "original": obj,
        "moved": moved[:SHOWN],
        "more": len(moved) > SHOWN,
        "back": reverse(
            f"{page.admin_site.name}:{page.opts.app_label}_{page.opts.model_name}_change",
            args=[quote(obj.pk)],
        ),
    }
    return shown(request, "flows_of_row.html", context)


def flow_urls(page: Any) -> list[Any]:
    """Return the address of a row's history in flows, for a ModelAdmin."""
    name = f"{page.opts.app_label}_{page.opts.model_name}_flows"

    def show(request: HttpRequest, object_id: str) -> HttpResponseBase:
        return show_flows(page, request, object_id)

    return [path("<path:object_id>/flows/", page.admin_site.admin_view(show), name=name)]


class FlowHistory:
    """For a ModelAdmin of rows that flows move: "History in flows", beside Django's own history.

    ``class AccountAdmin(FlowHistory, admin.ModelAdmin)``.
    """

    change_form_template = "admin/kck_flow/moved_row.html"

    def get_urls(self) -> list[Any]:
        return [*flow_urls(self), *super().get_urls()]  # type: ignore[misc]
