"""What is counted in tests: accounts that change their state, each in a branch."""

from django.db import models


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
