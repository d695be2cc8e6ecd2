"""The queue: what is wanted, by when, who computes it, what fails."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import clock, wording
from .lists import (
    HIDDEN,
    AppFilter,
    DatabaseFilter,
    FamilyFilter,
    KindFilter,
    ReadOnly,
    product_link,
    seen,
    short,
)

# What a slot is doing, each as a condition on its row at an instant.
STAGES = {
    "due": gettext_lazy("due"),
    "later": gettext_lazy("later"),
    "running": gettext_lazy("being computed"),
    "failing": gettext_lazy("failing"),
    "parked": gettext_lazy("parked"),
    "idle": gettext_lazy("nothing wanted"),
}


class StageFilter(admin.SimpleListFilter):
    title = gettext_lazy("stage")
    parameter_name = "stage"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(STAGES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = clock.now()
        idle = Q(lease_until=None) | Q(lease_until__lte=now)
        return queryset.filter(
            {
                "due": Q(due_at__lte=now) & idle,
                "later": Q(due_at__gt=now) & idle,
                "running": Q(lease_until__gt=now),
                "failing": Q(attempts__gt=0),
                "parked": Q(parked_at__isnull=False),
                "idle": Q(due_at=None, parked_at=None) & idle,
            }.get(self.value() or "", Q())
        )


class RefreshAdmin(ReadOnly):
    """The slots of products: queue entry, lease, retry counter and dead letter in one row."""

    list_display = ("link", "stage", "lane", "due", "reason", "attempts", "error", "took")
    list_display_links = None
    list_filter = (StageFilter, "lane", KindFilter, AppFilter, FamilyFilter, DatabaseFilter)
    search_fields = ("key",)

    def title_of(self, request: HttpRequest) -> str:
        return _("Refreshes: the queue")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("args", "progress", "schedule_digest")

    @admin.display(description=gettext_lazy("product"))
    def link(self, obj: Any) -> Any:
        if not seen(obj):
            return HIDDEN
        if obj.key.startswith("!"):
            return obj.key  # the package's own: the recount of a family, a planner
        return product_link(self.admin_site, obj)

    @admin.display(description=gettext_lazy("stage"))
    def stage(self, obj: Any) -> Any:
        now = clock.now()
        if obj.lease_until is not None and obj.lease_until > now:
            return STAGES["running"]
        if obj.parked_at is not None:
            return STAGES["parked"]
        if obj.attempts:
            return STAGES["failing"]
        return STAGES["idle" if obj.due_at is None else "due" if obj.due_at <= now else "later"]

    @admin.display(description=gettext_lazy("due"))
    def due(self, obj: Any) -> str:
        return wording.ahead((obj.due_at - clock.now()).total_seconds() if obj.due_at is not None else None)

    @admin.display(description=gettext_lazy("last error"))
    def error(self, obj: Any) -> str:
        return short(obj.last_error) if obj.attempts and seen(obj) else ""

    @admin.display(description=gettext_lazy("took"))
    def took(self, obj: Any) -> str:
        return wording.span(obj.cost_ms / 1000) if obj.cost_ms is not None else wording.MISSING
