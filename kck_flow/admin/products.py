"""The inspector: every product that is stored, how fresh it is and why, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import clock, spread, wording
from ..cache import listed
from ..dashboards import captions, reading
from ..decorators import Action
from ..errors import KckFlowError
from ..key import Key, general
from ..models import DataProduct, Pending, Refresh
from ..permission import VIEW, may
from ..registry import registry
from ..store import listings
from ..store.session import caller
from . import detail, doing
from .lists import (
    HIDDEN,
    AppFilter,
    DatabaseFilter,
    FamilyFilter,
    KindFilter,
    ReadOnly,
    alias_of,
    aliases,
    key_of,
    product_address,
    shown,
    unseen_families,
)

# Of more products than that, a list is in the order of its index, and has no calendar: either would read them all.
LARGE = 50_000


class StateFilter(admin.SimpleListFilter):
    """Products in a state, as a read would find them."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(wording.STATES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.value()
        if asked is None or asked not in wording.STATES:
            return queryset
        sql, params = listings.state_sql(listed.known_families())
        likely = queryset.filter(_likely(asked, queryset.db))
        found: QuerySet[Any] = likely.annotate(kck_state=RawSQL(sql, params)).filter(kck_state=asked)
        return found


def _likely(state: str, alias: str) -> Q:
    """Return what holds of each product in a state, and can be told of a million of them by their own columns: only of
    those that are left it is worked out what a read would find.
    """
    now = clock.now()
    slots = Refresh._default_manager.using(alias)
    if state == "failed":
        return Q(digest__in=slots.filter(attempts__gt=0).values("digest"))
    if state == "computing":
        return Q(digest__in=slots.filter(lease_until__gt=now).values("digest"))
    marked = Q(key_base__in=Pending._default_manager.using(alias).values("key_base"))
    if state == "stale":
        return Q(soft_expires_at__lte=now) | marked
    served = Q(invalid_at=None) & (Q(hard_expires_at=None) | Q(hard_expires_at__gt=now))
    served &= ~Q(state=DataProduct.UNSET)
    if state == "fresh":
        return served & (Q(soft_expires_at=None) | Q(soft_expires_at__gt=now))
    older = Q()
    for name, primer in registry.primers.items():
        current = Q(primer_version=primer.version) if not primer.always_fresh else Q(pk__in=[])
        older |= Q(key_base=name) & ~current
    return ~served | marked | older


class ProductAdmin(ReadOnly):
    """Products that are stored. What is counted as rows move, and what was never computed, stands under "Declared"."""

    list_display = ("name", "parameters", "state_now", "age", "next_refresh", "took", "size", "failures")
    list_filter = (
        StateFilter, KindFilter, AppFilter, FamilyFilter, ("computed_at", admin.DateFieldListFilter), DatabaseFilter,
    )  # fmt: skip
    search_fields = ("key",)
    search_help_text = gettext_lazy("Part of a key")
    large = ("value", "public", "applied", "pending_seen", "fingerprint_in", "params")
    keyset = ("key", "gt")
    ordering = ("key",)
    date_hierarchy = "computed_at"
    actions = ("refresh_now", "queue_refresh", "invalidate", "pause_family", "resume_family")

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).exclude(key__startswith="!")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the list; of many products in the order of their index, and without a calendar."""
        if not self.is_large(request):
            return super().get_changelist_instance(request)
        long = _OfMany(self)
        return long.get_changelist_instance(request)

    def is_large(self, request: HttpRequest) -> bool:
        """Whether there are so many products that nothing may read them all."""
        return self.rows(request) > LARGE

    def rows(self, request: HttpRequest) -> int:
        """Return about how many products there are."""
        known: int | None = getattr(request, "_kck_rows", None)
        if known is None:
            known = listings.estimated(caller(alias_of(request)), "kck_product")
            request._kck_rows = known  # type: ignore[attr-defined]
        return known

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by key: a whole one is found by its digest, whatever the size of the table."""
        words = search_term.split()
        if len(words) == 1:
            try:
                digest = registry.key(words[0]).digest
            except KckFlowError:
                digest = None
            if digest is not None and queryset.filter(digest=digest).exists():
                return queryset.filter(Q(digest=digest) | Q(key__startswith=f"{words[0]}/")), False
        for word in words:
            queryset = queryset.filter(key__icontains=word)
        return queryset, False

    def look_up(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Look up state, age, size and failures of a page's products: two statements, and one for metrics' rows."""
        super().look_up(request, rows)
        alias = alias_of(request)
        told = listings.some(caller(alias), [row.digest for row in rows])
        took = dict(
            Refresh._default_manager.using(alias)
            .filter(digest__in=[row.digest for row in rows])
            .values_list("digest", "cost_ms")
        )
        keys = [key for key in map(key_of, rows) if isinstance(key, Key)]
        words = captions.captions(keys)
        for row in rows:
            key = key_of(row)
            row.told, row.took = told.get(row.key), took.get(row.digest)
            row.caption = words.get(key)
            row.now = clock.now()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        extra = {} if request.method == "POST" else {"kck_states": self.states(request)}
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def states(self, request: HttpRequest) -> dict[str, Any]:
        """Return how many products are in each state, for the line above the list."""
        found, estimated = listings.states(
            caller(alias_of(request)),
            listed.known_families(),
            self.rows(request),
            unseen_families(request.user),
        )
        return {
            "estimated": estimated,
            "failing": f"{reverse(f'{self.admin_site.name}:kck_flow_refresh_changelist')}?stage=failing",
            "declared": reverse(f"{self.admin_site.name}:kck_flow_dataproduct_declared"),
            "each": [
                (state, str(text), wording.number(found[state]), f"?state={state}")
                for state, text in wording.STATES.items()
                if found.get(state)
            ],
        }

    # -- columns

    @admin.display(description=gettext_lazy("product"))
    def name(self, obj: Any) -> Any:
        if not obj.seen:
            return HIDDEN
        label = obj.caption.label.partition(" (")[0] if obj.caption is not None else obj.key_base
        return format_html("{}<br><code>{}</code>", label, obj.key)

    @admin.display(description=gettext_lazy("parameters"))
    def parameters(self, obj: Any) -> Any:
        key = key_of(obj)
        given = key.params if isinstance(key, Key) else {}
        if not obj.seen:
            return HIDDEN
        return ", ".join(f"{name} {value}" for name, value in given.items()) or wording.MISSING

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, obj: Any) -> Any:
        return chip(listed.state_of(obj.told) if obj.told is not None else "empty")

    @admin.display(description=gettext_lazy("age"))
    def age(self, obj: Any) -> str:
        if obj.told is None or obj.told.computed_at is None:
            return wording.MISSING
        return wording.age(max(obj.told.now - obj.told.computed_at, 0.0))

    @admin.display(description=gettext_lazy("next refresh"))
    def next_refresh(self, obj: Any) -> str:
        due = obj.told.due_at if obj.told is not None else None
        return wording.ahead(due - obj.told.now if due is not None else None)

    @admin.display(description=gettext_lazy("took"))
    def took(self, obj: Any) -> str:
        return wording.span(obj.took / 1000) if obj.took is not None else wording.MISSING

    @admin.display(description=gettext_lazy("size"))
    def size(self, obj: Any) -> str:
        size = obj.told.bytes if obj.told is not None else None
        return wording.bytes_text(size) if size is not None else wording.MISSING

    @admin.display(description=gettext_lazy("failures"))
    def failures(self, obj: Any) -> str:
        attempts = obj.told.attempts if obj.told is not None else 0
        return wording.number(attempts) if attempts else ""

    # -- addresses

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        own = [
            path("declared/", wrap(self.declared_view), name="kck_flow_dataproduct_declared"),
            path("<path:object_id>/do/<slug:name>/", wrap(self.deed_view), name="kck_flow_dataproduct_do"),
        ]
        return [*own, *super().get_urls()]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a product by its digest or its key, stored or not; None where neither says anything."""
        digest, key = _named(object_id)
        if digest is None:
            return None
        for alias in aliases(request):
            found = self.model._default_manager.using(alias).defer(*self.large).filter(pk=digest).first()
            if found is not None:
                return found
            slot = Refresh._default_manager.using(alias).filter(digest=digest).first()
            if slot is not None and not slot.key.startswith("!"):
                return _unstored(slot.key, slot.key_base, digest, alias)
        if key is not None and key.key_base in registry.primers:
            alias = spread.alias_of(registry.primers[key.key_base])
            return _unstored(str(key), key.key_base, digest, alias)
        return None

    # -- one product

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show what is known of one product."""
        obj = self._object(request, object_id)
        if obj is None:
            return self._none(request, object_id)
        key = _key(obj)
        context = {
            **self.admin_site.each_context(request),
            "title": str(key),
            "opts": self.opts,
            "media": self.media,
            "original": obj,
            "object_id": quote(str(key)),
            "has_view_permission": True,
            "deeds": self._deeds(request, key),
            **detail.about(request, self.admin_site, obj, key),
            **(extra_context or {}),
        }
        return shown(request, "product.html", context)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        obj = self._object(request, object_id)
        if obj is None:
            return self._none(request, object_id)
        return super().history_view(request, str(obj.pk), extra_context)

    def _none(self, request: HttpRequest, object_id: str) -> HttpResponse:
        page: Any = self
        gone: HttpResponse = page._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return gone

    def _object(self, request: HttpRequest, object_id: str) -> Any:
        obj = self.get_object(request, unquote(object_id))
        if obj is not None and not self.has_view_permission(request, obj):
            raise PermissionDenied
        if obj is None and not self.has_view_permission(request):
            raise PermissionDenied
        return obj

    def _deeds(self, request: HttpRequest, key: Key) -> list[tuple[str, str, str]]:
        """Return what the user may do about a product: (name, label, address) each."""
        paused = detail.is_paused(key)
        return [
            (
                deed.name,
                str(deed.label),
                reverse(f"{self.admin_site.name}:kck_flow_dataproduct_do", args=[quote(str(key)), deed.name]),
            )
            for deed in doing.DEEDS.values()
            if deed.name != ("pause" if paused else "resume") and doing.plan(deed, request.user, [key]).keys
        ]

    def deed_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponseBase:
        """Ask whether something is to be done about one product; then do it."""
        obj = self._object(request, object_id)
        deed = doing.DEEDS.get(name)
        if obj is None or deed is None:
            return self._none(request, object_id)
        key = _key(obj)
        plan = doing.plan(deed, request.user, [key])
        if plan.refused:
            raise PermissionDenied
        if request.method == "POST":
            self._carry_out(request, plan)
            return HttpResponseRedirect(product_address(self.admin_site, str(key)))
        return self._ask(request, plan, back=product_address(self.admin_site, str(key)))

    def declared_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show what is declared, stored or not: stocks and flows, which are counted, and what was never computed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        keys, families = _declared(request.user)
        found = reading.read(keys)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Declared products"),
            "opts": self.opts,
            "media": self.media,
            "rows": [
                {
                    "address": product_address(self.admin_site, str(one.key)),
                    "label": one.caption.label,
                    "key": str(one.key),
                    "kind": one.caption.kind,
                    "number": one.caption.with_unit(one.number)
                    if one.number is not None
                    else wording.MISSING,
                    "state": chip(one.state),
                    "age": wording.age(one.age) if one.version else "",
                }
                for one in found.values()
            ],
            "families": families,
        }
        return shown(request, "declared.html", context)

    # -- actions

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("kck_flow.refresh_dataproduct")

    def has_invalidate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("kck_flow.invalidate_dataproduct")

    @admin.action(description=gettext_lazy("Refresh now"), permissions=["refresh"])
    def refresh_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return self._act(request, queryset, "refresh")

    @admin.action(description=gettext_lazy("Queue a refresh"), permissions=["refresh"])
    def queue_refresh(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return self._act(request, queryset, "queue")

    @admin.action(description=gettext_lazy("Invalidate"), permissions=["invalidate"])
    def invalidate(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return self._act(request, queryset, "invalidate")

    @admin.action(description=gettext_lazy("Pause their families"), permissions=["refresh"])
    def pause_family(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return self._act(request, queryset, "pause")

    @admin.action(description=gettext_lazy("Resume their families"), permissions=["refresh"])
    def resume_family(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return self._act(request, queryset, "resume")

    def _act(self, request: HttpRequest, queryset: QuerySet[Any], name: str) -> Any:
        """Ask, then do it. All chosen rows take part, also those of other pages, up to a bound that is said."""
        deed = doing.DEEDS[name]
        chosen = list(queryset.only("digest", "key", "key_base")[: doing.MOST + 1])
        keys = [_key(row) for row in chosen[: doing.MOST]]
        plan = doing.plan(deed, request.user, keys, beyond=len(chosen) - len(keys))
        if request.POST.get("kck_sure"):
            self._carry_out(request, plan)
            return None
        return self._ask(request, plan, action=request.POST.get("action", ""))

    def _carry_out(self, request: HttpRequest, plan: doing.Plan) -> None:
        done, failed = doing.carry_out(plan)
        if done:
            doing.log(request.user, plan.deed, done)
            self.message_user(request, doing.told(plan.deed, len(done)), messages.SUCCESS)
        for key, error in failed[:5]:
            self.message_user(request, f"{key}: {error}", messages.ERROR)
        if len(failed) > 5:
            self.message_user(
                request, _("%(count)s more failed.") % {"count": len(failed) - 5}, messages.ERROR
            )

    def _ask(
        self, request: HttpRequest, plan: doing.Plan, action: str = "", back: str = ""
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": str(plan.deed.label),
            "opts": self.opts,
            "media": self.media,
            "plan": plan,
            "listed": [str(one) for one in plan.keys[:20]],
            "more": max(len(plan.keys) - 20, 0),
            "action": action,
            "chosen": request.POST.getlist("_selected_action"),
            "across": request.POST.get("select_across", "0"),
            "back": back or request.get_full_path(),
        }
        return shown(request, "confirm.html", context)


class _OfMany(ProductAdmin):
    """The list of so many products that it is in the order of their index, and has no calendar."""

    keyset = ("digest", "gt")
    ordering = ("digest",)
    date_hierarchy = None  # type: ignore[assignment]

    def __init__(self, of: ProductAdmin) -> None:
        super().__init__(of.model, of.admin_site)

    def is_large(self, request: HttpRequest) -> bool:
        return False  # it knows already


def chip(state: str) -> Any:
    """Return a state as people see it."""
    return format_html('<span class="kck-chip kck-chip-{}">{}</span>', state, wording.STATES[state])


def _key(obj: Any) -> Key:
    try:
        return registry.stored_key(obj.key, obj.key_base)
    except KckFlowError:  # of an older declaration
        return general(obj.key)


def _named(object_id: str) -> tuple[UUID | None, Key | None]:
    """Return the digest that an address names, and the key where it names one."""
    try:
        return UUID(object_id), None
    except ValueError:
        pass
    try:
        key = registry.key(object_id)
    except KckFlowError:
        return None, None
    return key.digest, key


def _unstored(key: str, key_base: str, digest: UUID, alias: str) -> DataProduct:
    """Return a product that has no row: it was never computed, or is counted as rows move."""
    made = DataProduct(digest=digest, key=key, key_base=key_base, state=DataProduct.UNSET, version=0)
    made._state.db = alias
    return made


def _declared(user: Any) -> tuple[list[Key], list[dict[str, Any]]]:
    """Return the declared products that can be said without parameters, and the families of the others."""
    keys: list[Key] = []
    families: list[dict[str, Any]] = []
    for primer in registry.unique():
        if isinstance(primer, Action) or not may(user, VIEW, primer.name):
            continue
        if all(parameter.has_default for parameter in primer.parameters):
            keys.append(primer.build_key())
        else:
            families.append(
                {
                    "key_base": primer.name,
                    "label": primer.text,
                    "kind": captions.kind_of(primer),
                    "parameters": ", ".join(parameter.name for parameter in primer.parameters),
                }
            )
    return keys, families
