"""Metrics that are stored as rows: made and changed here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..errors import DeclarationError
from ..models import ConfiguredMetric
from ..parameter import REQUIRED
from ..registry import registry
from .lists import Pages, product_address


class NamedValues(admin.AllValuesFieldListFilter):
    """The values of a column as a filter, of which an empty one has a name, too: a link needs one."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        for one in super().choices(changelist):
            yield {**one, "display": one["display"] or _("none")}


class MetricForm(forms.ModelForm):  # type: ignore[type-arg]
    """A metric's row: its type is one of the declared ones, whose properties stand beside the field."""

    class Meta:
        model = ConfiguredMetric
        fields = (
            "label", "slug", "description", "type", "properties", "section", "position", "unit", "unit_plural",
            "number_format", "precision", "good", "goal", "period", "tz", "rollup", "paused",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = [(name, f"{kind.text()} ({name})") for name, kind in sorted(registry.metric_types.items())]
        stored = self.instance.type
        if stored and stored not in registry.metric_types:  # of a type that is declared no more: it says so
            known.append((stored, _("%(name)s (no longer declared)") % {"name": stored}))
        field = self.fields.get("type")
        if field is not None:
            chosen = (
                forms.Select(attrs=field.widget.attrs)
                if not hasattr(field.widget, "choices")
                else field.widget
            )
            self.fields["type"] = forms.ChoiceField(
                choices=[("", "---------"), *known],
                widget=chosen,
                label=field.label,
                help_text=field.help_text,
            )
        if "properties" in self.fields:
            self.fields["properties"].help_text = properties_help()


def properties_help() -> Any:
    """Return what each type of metric needs to be told, as a list."""
    rows = (
        (kind.text(), name, _and(list(_properties(kind))) or _("nothing"))
        for name, kind in sorted(registry.metric_types.items())
    )
    listed = format_html_join("", "<li>{} (<code>{}</code>): {}</li>", rows)
    text = _('An object, such as {"filter": {"is_staff": true}}. What each type takes:')
    return format_html('{}<ul class="kck-help">{}</ul>', text, listed)


def _properties(kind: Any) -> Iterator[str]:
    try:
        declared = kind.declared()
    except DeclarationError:
        return
    for one in declared:
        if one.default is REQUIRED:
            yield f"{one.name} ({one.expected})"
        else:
            yield _("%(name)s (%(expected)s, or left out)") % {"name": one.name, "expected": one.expected}


def _and(listed: list[str]) -> str:
    return ", ".join(listed)


class ConfiguredMetricAdmin(Pages):
    """Metrics as rows: a type, and what it needs to be told."""

    form = MetricForm
    list_display = ("label_or_slug", "slug", "type", "section", "period", "paused", "product")
    list_filter = ("type", ("section", NamedValues), "period", "paused")
    search_fields = ("slug", "label", "description")
    prepopulated_fields = {"slug": ("label",)}
    readonly_fields = ("created_at",)
    fieldsets = (
        (None, {"fields": ("label", "slug", "description", "type", "properties")}),
        (gettext_lazy("How it is shown"), {
            "fields": ("section", "position", "unit", "unit_plural", "number_format", "precision", "good", "goal"),
        }),
        (gettext_lazy("How it is collected"), {"fields": ("period", "tz", "rollup", "paused", "created_at")}),
    )  # fmt: skip

    class Media:
        css = {"all": ["kck_flow/admin.css"]}

    @admin.display(description=gettext_lazy("metric"), ordering="label")
    def label_or_slug(self, obj: Any) -> str:
        return str(obj)

    @admin.display(description=gettext_lazy("product"))
    def product(self, obj: Any) -> Any:
        key = f"metric/{obj.slug}"
        return format_html('<a href="{}"><code>{}</code></a>', product_address(self.admin_site, key), key)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {} if obj is not None else {"slug": ("label",)}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The slug is in the key of the product and in all its records: it is given once."""
        return (*self.readonly_fields, "slug") if obj is not None else self.readonly_fields
