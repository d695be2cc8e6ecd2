"""The tickets, each a row with its state, and what customers said of their answers."""

from __future__ import annotations

from django.db import models


class Ticket(models.Model):
    """What a customer asked. Nobody keeps what it was before: flows count that as it changes."""

    NEW, OPEN, WAITING, SOLVED, CLOSED = "new", "open", "waiting", "solved", "closed"
    STATES = [(state, state) for state in (NEW, OPEN, WAITING, SOLVED, CLOSED)]

    topic = models.CharField(max_length=8)
    channel = models.CharField(max_length=5)
    state = models.CharField(max_length=7, choices=STATES)
    opened_at = models.DateTimeField(db_index=True)
    first_reply_at = models.DateTimeField(
        null=True, db_index=True, help_text="NULL: nobody has answered yet."
    )
    changed_at = models.DateTimeField(help_text="When it came to be in this state.")

    def __str__(self) -> str:
        return f"ticket {self.pk}, {self.topic}, {self.state}"


class Rating(models.Model):
    """How a customer liked an answer, from 1 to 5."""

    score = models.IntegerField()
    given_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.score} of 5"
