"""What is counted in tests: accounts that change their state, each in a branch; kettles that Python looks at."""

import uuid

from django.db import models

from kck_flow.models import FlowEvent


class Branch(models.Model):
    name = models.TextField()
    country = models.TextField(null=True)


class Account(models.Model):
    branch = models.ForeignKey(Branch, models.CASCADE, null=True, related_name="accounts")
    state = models.CharField(max_length=20, default="trial")
    plan = models.TextField(null=True)
    vip = models.BooleanField(default=False)
    balance = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    points = models.IntegerField(default=0)
    joined_at = models.DateTimeField(null=True)
    born_on = models.DateField(null=True)
    deleted_at = models.DateTimeField(null=True)
    # No product looks at it.
    note = models.TextField(default="")


class Kettle(models.Model):
    """Whose states only Python computes, from its degrees and its lid."""

    branch = models.ForeignKey(Branch, models.CASCADE, null=True)
    degrees = models.IntegerField(default=20)
    lid_open = models.BooleanField(default=False)
    colour = models.TextField(null=True)
    heated_at = models.DateTimeField(null=True)
    # No product looks at it.
    note = models.TextField(default="")


class SmartKettle(Kettle):
    firmware = models.TextField(default="1.0")


class OldKettle(Kettle):
    class Meta:
        proxy = True


class Probe(models.Model):
    """With a key that is made before it is saved."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    degrees = models.IntegerField(default=20)


class AccountEvent(FlowEvent):
    """What moved accounts, with columns for facets of many kinds."""

    subject = models.ForeignKey(
        Account, models.DO_NOTHING, null=True, db_constraint=False, related_name="events"
    )
    plan = models.TextField(null=True, db_index=True)
    vip = models.BooleanField(null=True)
    balance = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    branch = models.ForeignKey(Branch, models.SET_NULL, null=True, db_constraint=False, related_name="+")
    # Of an expression, and of whatever there is.
    day = models.DateField(null=True)
    score = models.JSONField(null=True)
    # Nothing fills it.
    note = models.TextField(null=True)

    class Meta:
        indexes = [models.Index(fields=["day"], name="account_event_day")]


class ForgetfulEvent(FlowEvent):
    """In a table with an odd name and an odd column, whose events forget rows that go."""

    subject = models.ForeignKey(
        Account, models.SET_NULL, null=True, db_constraint=False, related_name="+", db_column="Odd rów"
    )

    class Meta:
        db_table = "Odd events é"


class OrderEvent(FlowEvent):
    """In another app than its subject."""

    subject = models.ForeignKey("shop.Order", models.DO_NOTHING, db_constraint=False, related_name="moves")
    customer = models.ForeignKey(
        "shop.Customer", models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
