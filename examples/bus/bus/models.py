"""How far the generator has come: the one thing that it must remember when it is killed."""

from __future__ import annotations

from django.db import models

from bus.generating import Traffic


class Run(models.Model):
    """One stretch of generated traffic. What its messages are follows from ``seed``, ``rate`` and ``began_at``; that
    ``sent`` of them are in the log is written in the transaction that puts them there.
    """

    seed = models.IntegerField()
    rate = models.FloatField()  # messages a second
    began_at = models.DateTimeField()
    sent = models.BigIntegerField(default=0)  # messages, each once
    handed_in = models.BigIntegerField(default=0)  # those that were sent twice, twice

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.rate:g} a second, {self.sent:,} sent"

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.seed, self.rate, self.began_at)
