"""The accounts, each a row with its state."""

from __future__ import annotations

from django.db import models


class Account(models.Model):
    """A customer's account. Nobody keeps what it was before: flows count that as it changes."""

    TRIAL, ACTIVE, PAST_DUE, CHURNED, EXPIRED = "trial", "active", "past due", "churned", "expired"
    STATES = [(state, state) for state in (TRIAL, ACTIVE, PAST_DUE, CHURNED, EXPIRED)]
    BASIC, PRO, TEAM = "basic", "pro", "team"
    PLANS = [(plan, plan) for plan in (BASIC, PRO, TEAM)]

    plan = models.CharField(max_length=5, choices=PLANS)
    country = models.CharField(max_length=2)
    price = models.DecimalField(max_digits=8, decimal_places=2, help_text="EUR a month.")
    state = models.CharField(max_length=8, choices=STATES)
    signed_up_at = models.DateTimeField(db_index=True)
    changed_at = models.DateTimeField(help_text="When it came to be in this state.")

    def __str__(self) -> str:
        return f"account {self.pk}, {self.plan}, {self.state}"
