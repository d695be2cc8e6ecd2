"""What people have noted, and stands in the charts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from ..errors import KckFlowError
from ..models import Annotation
from ..registry import registry
from .lists import Pages


class AnnotationForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Annotation
        fields = ("text", "start_at", "end_at", "key")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["key"]
        field.widget = forms.TextInput(attrs={**self.fields["text"].widget.attrs, "size": 30})
        field.help_text = "A key, or a key base for a family; empty: in every chart."

    def clean_key(self) -> str:
        given: str = self.cleaned_data["key"].strip()
        if not given or given in registry.primers:
            return given
        try:
            key = registry.key(given)
        except KckFlowError as error:
            raise ValidationError(str(error)) from None
        if key.key_base not in registry.primers:
            raise ValidationError(registry.unknown(key.key_base))
        return str(key)


class AnnotationAdmin(Pages):
    """Notes on an instant or a period."""

    form = AnnotationForm
    list_display = ("text", "start_at", "end_at", "key")
    list_filter = ("start_at",)
    search_fields = ("text", "key")
    date_hierarchy = "start_at"
