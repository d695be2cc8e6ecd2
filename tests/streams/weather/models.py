"""What stations measure, what frames of it write beside their value, and a table of frames with columns of its own."""

from django.db import models
from django.db.models.functions import Now

from kck_flow.models import FrameRecord


class Measured(models.Model):
    at = models.DateTimeField(db_index=True)
    station = models.TextField(default="JFK")
    value = models.IntegerField(default=1)


class Wrote(models.Model):
    """A side effect of computing a frame: how often it was committed."""

    key = models.TextField()
    pid = models.IntegerField()
    what = models.TextField(default="compute")


class HourOfStation(FrameRecord):
    total = models.IntegerField()
    mean = models.DecimalField(max_digits=8, decimal_places=2, null=True)


class Hidden(models.Manager):
    """Shows nothing."""

    def get_queryset(self) -> models.QuerySet:
        return super().get_queryset().none()


class FilledHour(FrameRecord):
    """Columns that the database and Django fill in, behind a manager that hides all rows."""

    total = models.IntegerField()
    twice = models.GeneratedField(
        expression=models.F("total") * 2, output_field=models.IntegerField(), db_persist=True
    )
    grade = models.IntegerField(db_default=3)
    parts = models.JSONField(default=list)
    put_at = models.DateTimeField(db_default=Now())
    made_at = models.DateTimeField(auto_now=True)

    objects = Hidden()
