"""Dashboards that are stored as rows: their panels, in order."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.urls import NoReverseMatch
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy

from .. import permission
from ..dashboard import OPTIONS
from ..dashboards.pages import address
from ..models import ConfiguredDashboard, ConfiguredPanel
from ..registry import registry
from .lists import Inline, Pages


class PanelForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ConfiguredPanel
        fields = ("position", "section", "key", "show", "options", "hidden")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "key" in self.fields:
            self.fields["key"].widget = forms.TextInput(attrs=self._attributes("key"))
            self.fields["key"].help_text = gettext_lazy("A key, such as active or title/5")
        if "section" in self.fields:
            self.fields["section"].widget.attrs |= {"size": 14}
        if "options" in self.fields:
            rows = (f"{name}: {said}" for name, said in OPTIONS.items())
            self.fields["options"].help_text = "; ".join(rows)
            self.fields["options"].widget.attrs |= {"rows": 2, "cols": 22}
        # In a table of forms, the only words for a field are those of its column.
        for field in self.fields.values():
            field.widget.attrs.setdefault("aria-label", capfirst(str(field.label)))

    def _attributes(self, name: str) -> dict[str, Any]:
        """Return a field's attributes as the admin's look has them."""
        given = self.fields["section"].widget.attrs if "section" in self.fields else {}
        return {**given, "size": 22}


class PanelInline(Inline):
    """The panels of a dashboard, in order."""

    model = ConfiguredPanel
    form = PanelForm
    extra = 1
    ordering = ("position", "id")


class DashboardForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ConfiguredDashboard
        fields = ("label", "slug", "description", "permission", "position", "hidden")

    def clean_permission(self) -> str:
        rule: str = self.cleaned_data["permission"]
        wrong = permission.problem(rule) if rule else ""
        if wrong:
            raise ValidationError(
                f"{wrong}; give one of {', '.join(permission.RULES)}, or 'shop.view_order'."
            )
        return rule

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if slug in registry.dashboards:
            raise ValidationError(
                f"{slug!r} is declared in {registry.dashboards[slug].where()}, which is shown instead."
            )
        return slug


class ConfiguredDashboardAdmin(Pages):
    """Dashboards as rows, each at its slug."""

    form = DashboardForm
    inlines = (PanelInline,)
    list_display = ("label", "slug", "position", "hidden", "page")
    list_editable = ("position", "hidden")
    list_filter = ("hidden",)
    search_fields = ("label", "slug", "description")
    prepopulated_fields = {"slug": ("label",)}

    class Media:
        css = {"all": ["kck_flow/admin.css"]}

    @admin.display(description=gettext_lazy("page"))
    def page(self, obj: Any) -> Any:
        try:
            where = address("dashboards", obj.slug)
        except NoReverseMatch:
            return ""
        return format_html('<a href="{}">{}</a>', where, where)
