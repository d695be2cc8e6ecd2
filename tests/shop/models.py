"""A small shop: what the tests' products are computed from."""

from django.db import models

from kck_flow.models import FlowEvent

# isort: split
from kck_flow.models import FrameRecord


class Author(models.Model):
    name = models.TextField()


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.TextField()
    price = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    sold = models.IntegerField(default=0)


class Customer(models.Model):
    name = models.TextField()
    # NULL is a value of its own in joins and facets, so some row must have it.
    country = models.TextField(null=True)


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    cents = models.IntegerField(default=0)
    state = models.TextField(default="open")
    placed_at = models.DateTimeField(null=True)


class Parcel(Order):
    """An order with a table of its own beside that of all orders."""

    weight = models.IntegerField(default=0)


class OpenOrder(Order):
    """The same rows under another name."""

    class Meta:
        proxy = True


class ShippingEvent(FlowEvent):
    """Orders that were sent."""

    subject = models.ForeignKey(
        Order, models.DO_NOTHING, null=True, db_constraint=False, related_name="shippings"
    )
    customer = models.ForeignKey(
        Customer, models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )


class Sale(models.Model):
    at = models.DateTimeField(db_index=True)
    customer = models.ForeignKey(Customer, models.CASCADE)
    cents = models.IntegerField(default=0)


class SalesOfHour(FrameRecord):
    sales = models.IntegerField()
    cents = models.BigIntegerField()
