"""The accounts in the admin: a number on a page leads to those that it counts, and what is done to them moves it."""

from django.contrib import admin
from django.utils import timezone

from shop.models import Account


@admin.register(Account)
class AccountAdmin(admin.ModelAdmin):
    list_display = ["id", "plan", "country", "price", "state", "changed_at"]
    list_filter = ["state", "plan"]
    ordering = ["-changed_at"]
    readonly_fields = ["signed_up_at", "changed_at"]
    actions = ["have_paid"]

    @admin.action(description="They have paid what was due")
    def have_paid(self, request, accounts):
        paid = accounts.filter(state=Account.PAST_DUE)
        number = paid.update(
            state=Account.ACTIVE, changed_at=timezone.now()
        )  # one statement, counted all the same
        self.message_user(request, f"{number} of them were past due, and are active.")

    def save_model(self, request, account, form, change):
        if "state" in form.changed_data:
            account.changed_at = timezone.now()
        account.signed_up_at = account.signed_up_at or timezone.now()
        super().save_model(request, account, form, change)
