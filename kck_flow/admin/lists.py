"""Lists that nobody can edit, of tables that may be long: no row is counted that is not shown, pages go on by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import wording
from ..conf import conf
from ..dashboards.faces import csv_lines
from ..permission import VIEW, may
from ..registry import registry

# A look of its own for the admin is asked for by its classes: those of Unfold, where it is installed.
if TYPE_CHECKING:
    Pages = admin.ModelAdmin[Any]
    Inline = admin.TabularInline[Any, Any]
    _Paginator = Paginator[Any]
elif apps.is_installed("unfold"):
    from unfold.admin import ModelAdmin as Pages
    from unfold.admin import TabularInline as Inline
else:
    Pages, Inline = admin.ModelAdmin, admin.TabularInline
if not TYPE_CHECKING:
    _Paginator = Paginator

# So many rows are paged through by number; behind them a list goes on from its last row.
MOST = 1000
PER_PAGE = 50
# So many rows an action may export.
EXPORTED = 100_000


# What stands in the place of what the user may not see.
HIDDEN = "•••"


class ShortPaginator(_Paginator):
    """Counts no further than ``MOST`` rows: of more, a list says that there are more."""

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MOST + 1].count())

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than it counts."""
        return self._counted > MOST

    @property
    def count(self) -> int:
        return min(self._counted, MOST)


class LongList(ChangeList):
    """A list that goes on behind its last row.

    Attributes:
        onward: The query of the rows behind the page's last one; empty where all are paged by number.
    """

    onward = ""
    model_admin: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        paginator = self.paginator
        if isinstance(paginator, ShortPaginator) and paginator.is_cut and self.result_list:
            name, behind = self.model_admin.keyset
            last = getattr(self.result_list[-1], name)
            self.onward = self.get_query_string({f"{name}__{behind}": str(last)}, remove=[PAGE_VAR])
        self.model_admin.look_up(request, self.result_list)


class ReadOnly(Pages):
    """Rows that the package keeps and nobody edits: a list, and what is known of each.

    Attributes:
        keyset: The column by which a long list goes on, and how: ``("id", "lt")`` where the newest come first.
        large: Columns that a list does not read.
    """

    keyset: tuple[str, str] = ("id", "lt")
    large: Sequence[str] = ()
    ordering = ("-id",)
    sortable_by = ()
    paginator = ShortPaginator
    list_per_page = PER_PAGE
    list_max_show_all = PER_PAGE
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_list_template = "admin/kck_flow/long_list.html"

    class Media:
        css = {"all": ["kck_flow/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_view_permission(request, obj)
        return allowed and (obj is None or may(request.user, VIEW, key_of(obj)))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LongList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.model._default_manager.using(alias_of(request)).defer(*self.large)
        rows = rows.exclude(key_base__in=unseen_families(request.user))
        ordering = self.get_ordering(request)
        return rows.order_by(*ordering) if ordering else rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row, from whichever database of the products has it."""
        for alias in aliases(request):
            rows = self.model._default_manager.using(alias)
            try:
                return rows.get(pk=self.model._meta.pk.to_python(object_id))
            except (self.model.DoesNotExist, ValueError, TypeError, ValidationError):
                continue
        return None

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup == "__".join(self.keyset) or super().lookup_allowed(lookup, value, request)

    def look_up(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Look up what the columns of a page's rows tell besides, for all of them at once; and whether the user may see
        what each is about.
        """
        for row in rows:
            row.seen = may(request.user, VIEW, key_of(row))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": self.title_of(request), **(extra_context or {})})

    def title_of(self, request: HttpRequest) -> str:
        """Return what stands above the list."""
        return str(self.model._meta.verbose_name_plural).capitalize()

    # -- columns

    @admin.display(description=gettext_lazy("product"))
    def product(self, obj: Any) -> Any:
        return product_link(self.admin_site, obj) if seen(obj) else HIDDEN

    def export_rows(self, request: HttpRequest, queryset: QuerySet[Any]) -> Iterator[list[Any]]:
        """Yield the rows of a CSV: the columns as they are stored, of what the user may export."""
        names = [field.attname for field in self.model._meta.concrete_fields]
        for row in queryset.defer(None).iterator(chunk_size=2000):
            if may(request.user, "export", key_of(row)):
                yield [getattr(row, name) for name in names]

    @admin.action(description=gettext_lazy("Export as CSV"), permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        names = [field.attname for field in self.model._meta.concrete_fields]
        rows = queryset[:EXPORTED]
        response = StreamingHttpResponse(
            csv_lines(names, self.export_rows(request, rows)), content_type="text/csv; charset=utf-8"
        )
        response.headers["Content-Disposition"] = f'attachment; filename="{self.model._meta.model_name}.csv"'
        return response


def aliases(request: HttpRequest) -> list[str]:
    """Return the databases that hold products; the one that is looked at first."""
    first = alias_of(request)
    return [first, *(alias for alias in conf.DATABASES if alias != first)]


def alias_of(request: HttpRequest) -> str:
    """Return the database that is looked at: the first, or the one that a filter names."""
    asked = request.GET.get("database", "")
    return asked if asked in conf.DATABASES else str(conf.DATABASES[0])


def key_of(obj: Any) -> Any:
    """Return the key that a row is about; of an event, and of what has no readable one, its family."""
    text = getattr(obj, "key", None)
    if text is None:
        return obj.key_base
    try:
        return registry.stored_key(text, obj.key_base)
    except Exception:  # of an older declaration: its family's rule holds
        return obj.key_base


def unseen_families(user: Any) -> list[str]:
    """Return the families of which a user may see nothing; those whose rule is a function are asked key by key."""
    return [
        name
        for name, primer in registry.primers.items()
        if not callable(primer.permission)
        and not _by_function(primer.permission)
        and not may(user, VIEW, name)
    ]


def _by_function(rule: Any) -> bool:
    rule = conf.PERMISSION if rule is None else rule
    return isinstance(rule, str) and rule.count(".") > 1


def seen(obj: Any) -> bool:
    """Whether the user may see what a row is about; of one row alone that was decided before."""
    return bool(getattr(obj, "seen", True))


def product_link(site: Any, obj: Any) -> Any:
    """Return a row's product, with a link to what is known of it."""
    return format_html('<a href="{}"><code>{}</code></a>', product_address(site, obj.key), obj.key)


def product_address(site: Any, key: str) -> str:
    """Return where a site shows a product."""
    from django.contrib.admin.utils import quote
    from django.urls import reverse

    return reverse(f"{site.name}:kck_flow_dataproduct_change", args=[quote(str(key))])


def shown(request: HttpRequest, template: str, context: dict[str, Any]) -> TemplateResponse:
    """Answer with a page of an admin site."""
    return TemplateResponse(request, f"admin/kck_flow/{template}", context)


def short(text: str, most: int = 120) -> str:
    """Return the first line of a text, cut where it is long."""
    first = text.strip().partition("\n")[0]
    return first if len(first) <= most else f"{first[: most - 1]}…"


def when(at: Any, now: Any) -> str:
    """Return an instant, as the pages say it."""
    return wording.instant(at, now)


class FamilyFilter(admin.SimpleListFilter):
    """Products, runs … of one primer; only the declared ones are offered, so that nothing has to be read for it."""

    title = gettext_lazy("primer")
    parameter_name = "key_base"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        unseen = set(unseen_families(request.user))
        return [(name, name) for name in sorted(registry.primers) if name not in unseen]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(key_base=self.value()) if self.value() else queryset


class KindFilter(admin.SimpleListFilter):
    """What is of a kind: metrics, topics, plain products …"""

    title = gettext_lazy("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, _(kind)) for kind in sorted(_families("kind"))] + [("by hand", _("by hand"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "by hand":
            return queryset.exclude(key_base__in=list(registry.primers))
        return (
            queryset.filter(key_base__in=_families("kind").get(self.value(), []))
            if self.value()
            else queryset
        )


class AppFilter(admin.SimpleListFilter):
    """What one app declares."""

    title = gettext_lazy("app")
    parameter_name = "app"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(label, label) for label in sorted(_families("app"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return (
            queryset.filter(key_base__in=_families("app").get(self.value(), [])) if self.value() else queryset
        )


class DatabaseFilter(admin.SimpleListFilter):
    """In which database; asked only where products live in several."""

    title = gettext_lazy("database")
    parameter_name = "database"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(alias, alias) for alias in conf.DATABASES] if len(conf.DATABASES) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset  # the rows are of that database already


def _families(by: str) -> dict[Any, list[str]]:
    """Return the key bases of each kind, or of each app."""
    from ..dashboards.captions import kind_of

    found: dict[Any, list[str]] = {}
    for name, primer in registry.primers.items():
        found.setdefault(kind_of(primer) if by == "kind" else app_of(primer), []).append(name)
    return found


def app_of(primer: Any) -> str:
    """Return the label of the app that declares a primer; its module where no app does."""
    module = type(primer).__module__
    config = apps.get_containing_app_config(module)
    return config.label if config is not None else module
