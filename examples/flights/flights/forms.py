from django import forms

from flights.models import Flight


class DelayForm(forms.ModelForm):
    """The one thing about a flight that this example lets a visitor change."""

    departure_delay = forms.IntegerField(
        required=False,
        min_value=-120,
        max_value=2_880,
        label="Minutes late at departure",
        help_text="Below zero is early. Empty: it never left.",
    )

    class Meta:
        model = Flight
        fields = ["departure_delay"]


class FindForm(forms.Form):
    """An airport and an hour, or an airline and a day."""

    airport = forms.CharField(max_length=3, required=False)
    airline = forms.CharField(max_length=2, required=False)
    day = forms.DateField()
    hour = forms.IntegerField(min_value=0, max_value=23, required=False)
