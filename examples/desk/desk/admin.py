"""The tickets in the admin: a number on a page leads to those that it counts, and what is done to them moves it."""

from django.contrib import admin
from django.utils import timezone

from desk.models import Rating, Ticket


@admin.register(Ticket)
class TicketAdmin(admin.ModelAdmin):
    list_display = ["id", "topic", "channel", "state", "opened_at", "changed_at"]
    list_filter = ["state", "topic", "channel"]
    ordering = ["-changed_at"]
    readonly_fields = ["opened_at", "first_reply_at", "changed_at"]
    actions = ["solve"]

    @admin.action(description="Solve them")
    def solve(self, request, tickets):
        open_ones = tickets.filter(state=Ticket.OPEN)
        number = open_ones.update(
            state=Ticket.SOLVED, changed_at=timezone.now()
        )  # one statement, counted all the same
        self.message_user(request, f"{number} of them were open, and are solved.")

    def save_model(self, request, ticket, form, change):
        if "state" in form.changed_data:
            ticket.changed_at = timezone.now()
        ticket.opened_at = ticket.opened_at or timezone.now()
        super().save_model(request, ticket, form, change)


@admin.register(Rating)
class RatingAdmin(admin.ModelAdmin):
    list_display = ["given_at", "score"]
    ordering = ["-given_at"]
