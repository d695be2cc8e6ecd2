"""What stations measure, what frames of it write beside their value, and a table of frames with columns of its own."""

from django.db import models

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
