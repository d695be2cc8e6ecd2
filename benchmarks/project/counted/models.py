"""One table, six times over: nobody counts it, a trigger keeps counter rows, kck_flow counts it."""

from django.db import models


class Account(models.Model):
    """An account: a state, three columns to split by with 50 values each, and one that nobody counts."""

    state = models.CharField(max_length=12)
    plan = models.CharField(max_length=12)
    country = models.CharField(max_length=12)
    shop_id = models.IntegerField()
    note = models.CharField(max_length=60)

    class Meta:
        abstract = True


class Untracked(Account):
    """Nobody counts it."""

    class Meta:
        app_label = "bench_counted"
        db_table = "bench_untracked"


class Tallied(Account):
    """A trigger adds to rows of ``Tally``."""

    class Meta:
        app_label = "bench_counted"
        db_table = "bench_tallied"


class Tally(models.Model):
    """A counter: of all, or of one value of one column."""

    name = models.CharField(max_length=40, primary_key=True)
    n = models.BigIntegerField(default=0)

    class Meta:
        app_label = "bench_counted"
        db_table = "bench_tally"


class Tracked(Account):
    """One stock of kck_flow."""

    class Meta:
        app_label = "bench_counted"
        db_table = "bench_tracked"


class Signalled(Account):
    """One stock of kck_flow, told by a ``ModelTracker``."""

    class Meta:
        app_label = "bench_counted"
        db_table = "bench_signalled"


class Divided(Account):
    """Sixteen stocks of kck_flow, a row in one of them."""

    class Meta:
        app_label = "bench_counted"
        db_table = "bench_divided"


class Sixteen(Account):
    """Sixteen stocks of kck_flow, a row in each of them."""

    class Meta:
        app_label = "bench_counted"
        db_table = "bench_sixteen"


class Event(models.Model):
    """What happens, counted by flows."""

    at = models.DateTimeField()
    kind = models.CharField(max_length=12)

    class Meta:
        app_label = "bench_counted"
        db_table = "bench_event"
