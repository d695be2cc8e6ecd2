"""Records: what products held then."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy

from . import tree
from .lists import HIDDEN, AppFilter, DatabaseFilter, FamilyFilter, KindFilter, ReadOnly, seen, short, when


class RecordAdmin(ReadOnly):
    """Newest first."""

    list_display = ("start", "end", "product", "value_line", "revision", "complete")
    list_filter = (
        KindFilter,
        AppFilter,
        FamilyFilter,
        ("start_at", admin.DateFieldListFilter),
        DatabaseFilter,
    )
    search_fields = ("key",)
    actions = ("export",)
    exclude = ("value", "digest", "facet_digest")
    readonly_fields = ("value_tree",)

    @admin.display(description=gettext_lazy("from"))
    def start(self, obj: Any) -> str:
        return when(obj.start_at, None)

    @admin.display(description=gettext_lazy("to"))
    def end(self, obj: Any) -> str:
        return when(obj.end_at, None)

    @admin.display(description=gettext_lazy("value"))
    def value_line(self, obj: Any) -> str:
        return short(tree.texts([obj.value])[0], 80) if seen(obj) else HIDDEN

    @admin.display(description=gettext_lazy("value"))
    def value_tree(self, obj: Any) -> Any:
        return tree.tree(obj.value)
