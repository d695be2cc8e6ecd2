"""A source that a product may declare."""

from django.db import models


class Order(models.Model):
    """An order of a customer, in cents."""

    customer_id = models.IntegerField(db_index=True)
    cents = models.IntegerField()

    class Meta:
        app_label = "bench"
