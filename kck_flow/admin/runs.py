"""Runs: what happened when refreshes were carried out."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy

from .. import wording
from ..models import Run
from .lists import HIDDEN, AppFilter, DatabaseFilter, FamilyFilter, KindFilter, ReadOnly, seen, short, when


class OutcomeFilter(admin.SimpleListFilter):
    title = gettext_lazy("outcome")
    parameter_name = "outcome"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        named = (Run.DONE, Run.UNCHANGED, Run.FAILED, Run.FENCED, Run.SUPERSEDED, Run.RELEASED, Run.LOST)
        return [(one, one) for one in named]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(outcome=self.value()) if self.value() else queryset


class RunAdmin(ReadOnly):
    """Newest first; a run's own page has its traceback."""

    list_display = ("started", "product", "outcome", "took", "reason", "size", "error_line", "worker")
    list_filter = (OutcomeFilter, KindFilter, AppFilter, FamilyFilter, DatabaseFilter)
    search_fields = ("key",)
    large = ("traceback", "causes")
    actions = ("export",)

    @admin.display(description=gettext_lazy("started"))
    def started(self, obj: Any) -> str:
        return when(obj.started_at, None)

    @admin.display(description=gettext_lazy("took"))
    def took(self, obj: Any) -> str:
        return wording.span((obj.finished_at - obj.started_at).total_seconds())

    @admin.display(description=gettext_lazy("size"))
    def size(self, obj: Any) -> str:
        return wording.bytes_text(obj.bytes) if obj.bytes is not None else wording.MISSING

    @admin.display(description=gettext_lazy("error"))
    def error_line(self, obj: Any) -> str:
        return short(obj.error) if seen(obj) else HIDDEN
