"""Meters that are read: tables with instants and days, with keys of many kinds, and intervals."""

import uuid

from django.db import models

from kck_flow.models import TimedInterval


class Meter(models.Model):
    name = models.TextField()


class Current(models.Manager):
    """What leaves rows out, as soft deletion does."""

    def get_queryset(self):
        return super().get_queryset().exclude(note="hidden")


class Reading(models.Model):
    meter = models.ForeignKey(Meter, models.CASCADE, null=True, related_name="readings")
    taken_at = models.DateTimeField(null=True)
    value = models.IntegerField(default=0)
    note = models.TextField(default="")

    objects = Current()
    everything = models.Manager()  # noqa: DJ012

    class Meta:
        indexes = [models.Index(fields=["taken_at", "id"], name="reading_by_time")]


class Remark(models.Model):
    """Goes with its reading."""

    reading = models.ForeignKey(Reading, models.CASCADE)


class Complaint(models.Model):
    """Holds on to its reading."""

    reading = models.ForeignKey(Reading, models.PROTECT)


class Photo(Reading):
    """In a table of its own beside that of all readings."""

    place = models.TextField(default="")


class Day(models.Model):
    """Of a key that says nothing of its order."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    on = models.DateField()
    note = models.TextField(default="")


class Sample(models.Model):
    """Of a key of two columns, the first of them text."""

    pk = models.CompositePrimaryKey("site", "number")
    site = models.TextField()
    number = models.IntegerField()
    taken_at = models.DateTimeField()
    note = models.TextField(default="")


class Outage(TimedInterval):
    """While a meter said nothing."""

    meter = models.ForeignKey(Meter, models.CASCADE, null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["meter", "start_at"], name="outage_once")]
