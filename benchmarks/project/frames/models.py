"""What a frame is made of."""

from django.db import models


class Item(models.Model):
    """Something that happened."""

    at = models.DateTimeField()
    value = models.IntegerField()

    class Meta:
        app_label = "bench_frames"
        db_table = "bench_item"
        indexes = [models.Index(fields=["at", "id"], name="bench_item_at")]
