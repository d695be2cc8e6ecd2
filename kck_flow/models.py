"""Every table, on one page. Readable with the ORM; written only by the modules of ``store``."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.utils import names_digest
from django.db.models import F, Func, Q, Value
from django.db.models.signals import class_prepared

from .dashboard import SHOWS, wrong_options
from .errors import DeclarationError, KckFlowError
from .metric import ROLLUPS, WrongProperties
from .primer import NUMBER_FORMATS
from .registry import registry
from .windows import UNITS, Window

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class Numeric(models.Field):  # type: ignore[type-arg]
    """A number without a bound on its digits: sums of whatever decimals a project has."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "numeric"


class Family(models.Model):
    """What is known of a primer as a whole: whether it is paused, and which declaration was last put in force."""

    key_base = models.TextField(primary_key=True)
    paused_at = models.DateTimeField(null=True)
    note = models.TextField(db_default="")
    primer_version = models.IntegerField(db_default=1)
    schedule_digest = models.TextField(db_default="")
    synced_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "kck_family"


class DataProduct(models.Model):
    """The entry of a product: its value and how fresh it is. Unset is a state, so that versions never restart."""

    VALUE, NONE, UNSET = "value", "none", "unset"

    digest = models.UUIDField(primary_key=True)
    key = models.TextField()
    key_base = models.TextField(db_index=True)
    params = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    value = models.JSONField(null=True)
    public = models.JSONField(null=True)
    state = models.CharField(max_length=5, db_default=UNSET)
    version = models.BigIntegerField(db_default=0)
    # How often it was invalidated: a compute that began under an older epoch may not publish.
    epoch = models.BigIntegerField(db_default=0)
    primer_version = models.IntegerField(db_default=1)
    fingerprint_in = models.TextField(null=True)
    # Whether its compute read other products: then a read looks for changes on their way.
    sourced = models.BooleanField(db_default=False)
    # Family-wide Pending rows that this value has already seen.
    pending_seen = models.JSONField(null=True)
    # Ids of the changes folded in last, so that a change delivered twice counts once.
    applied = models.JSONField(null=True)
    computed_at = models.DateTimeField(null=True)
    soft_expires_at = models.DateTimeField(null=True)
    hard_expires_at = models.DateTimeField(null=True)
    invalid_at = models.DateTimeField(null=True)
    # To the day, by sampling, of families with a bound (``max_entries``); of others, the day it was first stored.
    read_at = models.DateField(null=True)

    class Meta:
        db_table = "kck_product"
        # Besides what the product itself says (``permission``): who may do more than look.
        permissions = [
            ("refresh_dataproduct", "Can have products computed"),
            ("invalidate_dataproduct", "Can make products unservable"),
            ("write_dataproduct", "Can set products"),
            ("share_dataproduct", "Can sign links to products"),
        ]

    def __str__(self) -> str:
        return self.key


class Refresh(models.Model):
    """The slot of a product: queue entry, schedule, lease, retry counter and dead letter in one row."""

    id = models.BigAutoField(primary_key=True)
    digest = models.UUIDField(unique=True)
    key = models.TextField()
    key_base = models.TextField()
    args = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    lane = models.SmallIntegerField(db_default=5)
    due_at = models.DateTimeField(null=True)
    want = models.BigIntegerField(db_default=0)
    have = models.BigIntegerField(db_default=0)
    claimed_want = models.BigIntegerField(db_default=0)
    token = models.BigIntegerField(db_default=0)
    lease_until = models.DateTimeField(null=True)
    lease_owner = models.TextField(db_default="")
    compute_until = models.DateTimeField(null=True)
    attempts = models.IntegerField(db_default=0)
    crashes = models.IntegerField(db_default=0)
    retry_at = models.DateTimeField(null=True)
    last_error_at = models.DateTimeField(null=True)
    last_error = models.TextField(db_default="")
    parked_at = models.DateTimeField(null=True)
    parked_why = models.TextField(db_default="")
    reason = models.TextField(db_default="")
    requested_at = models.DateTimeField(null=True)
    nominal = models.DateTimeField(null=True)
    schedule_digest = models.TextField(db_default="")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cost_ms = models.FloatField(null=True)
    progress = models.JSONField(null=True)

    class Meta:
        db_table = "kck_refresh"
        verbose_name_plural = "refreshes"
        # Nothing else may index a lease column: beats must stay HOT updates.
        indexes = [models.Index(fields=["lane", "due_at"], name="kck_refresh_lane_due")]

    def __str__(self) -> str:
        return self.key


class Pending(models.Model):
    """A change on its way to a product, appended in the transaction that caused it."""

    STALE, REFRESH, CHANGE = "stale", "refresh", "change"

    id = models.BigAutoField(primary_key=True)
    key_base = models.TextField()
    digest = models.UUIDField(null=True)
    args = models.JSONField(null=True)
    kind = models.CharField(max_length=7)
    source = models.TextField(db_default="")
    change = models.JSONField(null=True)
    reason = models.TextField(db_default="")

    class Meta:
        db_table = "kck_pending"
        indexes = [models.Index(fields=["key_base", "digest", "id"], name="kck_pending_key")]


class Edge(models.Model):
    """Who depends on whom, as seen when the downstream product was last computed."""

    pk = models.CompositePrimaryKey("upstream", "downstream")
    upstream = models.UUIDField()
    downstream = models.UUIDField(db_index=True)
    upstream_key = models.TextField()
    downstream_key = models.TextField()
    version_read = models.BigIntegerField(null=True)
    mode = models.CharField(max_length=7, db_default="stale")

    class Meta:
        db_table = "kck_edge"
        # What was read of stocks and flows has no version; a fold asks whether there is any.
        indexes = [models.Index(fields=["upstream"], condition=Q(version_read=None), name="kck_edge_counted")]


class Generation(models.Model):
    """A definition of a counted family, and its fence: written when a lease on it begins or ends, never by beats."""

    LEASE, CUT = "lease", "cut"

    # 63 bits of a hash of the definition: triggers and statements name it, and a restore keeps it.
    generation = models.BigIntegerField(primary_key=True)
    key_base = models.TextField(db_index=True)
    relation = models.TextField()
    definition = models.JSONField()
    live = models.BooleanField(db_default=True)
    made_at = models.DateTimeField()
    primed_at = models.DateTimeField(null=True)
    # What captured its table when it was primed: another capture may have seen less.
    captured = models.TextField(db_default="")
    token = models.BigIntegerField(null=True)
    phase = models.CharField(max_length=5, null=True)
    # How its transitions are kept as events, besides being counted; null where they are not.
    events = models.JSONField(null=True)
    # Of a flow: up to when its capture is known to have been whole; null until it is in place.
    whole_at = models.DateTimeField(null=True)
    # Of a flow that started from history: from when on its windows are known to be whole, if that is before made_at.
    history_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "kck_generation"

    def __str__(self) -> str:
        return self.key_base


class Gap(models.Model):
    """A time in which transitions of a flow were missed: its windows of then count too little, for good."""

    CAPTURE, TRUNCATE = "capture", "truncate"

    id = models.BigAutoField(primary_key=True)
    generation = models.BigIntegerField()
    # When its capture was last known to be whole, and when it was found to be so again; null: it still is not.
    start_at = models.DateTimeField()
    end_at = models.DateTimeField(null=True)
    cause = models.CharField(max_length=8, db_default=CAPTURE)

    class Meta:
        db_table = "kck_gap"
        indexes = [models.Index(fields=["generation", "start_at"], name="kck_gap_family")]
        constraints = [
            models.UniqueConstraint(fields=["generation"], condition=Q(end_at=None), name="kck_gap_open")
        ]


class Level(models.Model):
    """What a counted family holds now, by key and facet value. Written by folds and recounts alone."""

    pk = models.CompositePrimaryKey("generation", "args_digest", "start_at", "facet", "value_digest")
    generation = models.BigIntegerField()
    args_digest = models.UUIDField()
    # 0 is the total, the others stand in the order of the definition.
    facet = models.SmallIntegerField()
    value_digest = models.UUIDField()
    # Of a flow, the window; of a stock, before all time, or where rows come and go with time, from when on it counts.
    start_at = models.DateTimeField()
    args = models.JSONField()
    facet_value = models.JSONField(null=True)
    n = models.BigIntegerField()
    amount = Numeric(null=True)
    # What was folded into it since the cut of a recount that is under way.
    since_n = models.BigIntegerField(null=True)
    since_amount = Numeric(null=True)

    class Meta:
        db_table = "kck_level"


class Recounted(models.Model):
    """What a long recount has found, until it is published; of one that died, until the next of its family is."""

    id = models.BigAutoField(primary_key=True)
    generation = models.BigIntegerField()
    # Of the lease that it was counted under.
    token = models.BigIntegerField()
    args = models.JSONField()
    start_at = models.DateTimeField()
    facet = models.SmallIntegerField()
    facet_value = models.JSONField(null=True)
    n = models.BigIntegerField()
    amount = Numeric(null=True)

    class Meta:
        db_table = "kck_recounted"
        indexes = [models.Index(fields=["generation", "token"], name="kck_recounted_by")]


class Book(models.Model):
    """The book of a stock: since when its flows account for it, and which they are."""

    generation = models.BigIntegerField(primary_key=True)
    key_base = models.TextField()
    # The generations of the flows whose counts were written down at the opening.
    flows = models.JSONField()
    opened_at = models.DateTimeField()
    # When a recount last found what no trigger had told.
    corrected_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "kck_book"


class Opening(models.Model):
    """What a stock held, and what its flows had counted, as its book was opened; and what recounts corrected since."""

    IN, OUT, HELD, CORRECTED, BEFORE = 1, -1, 0, 2, 3

    pk = models.CompositePrimaryKey("generation", "flow", "side", "args_digest", "facet", "value_digest")
    generation = models.BigIntegerField()
    # 0 is the stock itself.
    flow = models.BigIntegerField()
    # 1 into the stock, -1 out of it; of the stock itself 0 what it held, 2 corrections, 3 (while a recount is
    # published) what it held before.
    side = models.SmallIntegerField()
    args_digest = models.UUIDField()
    facet = models.SmallIntegerField()
    value_digest = models.UUIDField()
    args = models.JSONField()
    facet_value = models.JSONField(null=True)
    n = models.BigIntegerField()

    class Meta:
        db_table = "kck_opening"


class Delta(models.Model):
    """A change of a counted family that is not in its levels yet, appended in the transaction that caused it."""

    ADD, INVALIDATE = "add", "invalidate"

    id = models.BigAutoField(primary_key=True)
    generation = models.BigIntegerField()
    args_digest = models.UUIDField()
    args = models.JSONField()
    facet = models.SmallIntegerField()
    facet_value = models.JSONField(null=True)
    start_at = models.DateTimeField(null=True)
    at = models.DateTimeField()
    n = models.BigIntegerField()
    amount = Numeric(null=True)
    kind = models.CharField(max_length=10, db_default=ADD)

    class Meta:
        # In the database its primary key is (generation, args_digest, id): what is read by, and nothing beside it.
        db_table = "kck_delta"


class _Kept(models.Model):
    """One transition of one row, as a row of its own."""

    id = models.BigAutoField(primary_key=True)
    # Of the flow.
    key_base = models.TextField()
    generation = models.BigIntegerField()
    args = models.JSONField()
    # Key bases of stocks; null is the outside.
    source = models.TextField(null=True)
    sink = models.TextField(null=True)
    at = models.DateTimeField()
    # Of the transaction: what has one number happened together.
    xact = models.BigIntegerField()
    # As they were.
    facets = models.JSONField()
    # "due" until the flow's callables were called, then "done"; "failed": it is tried again by itself.
    callback_state = models.CharField(max_length=6, db_default="")
    # Of one that failed: which callables have been called all the same.
    called = models.JSONField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.key_base}: {self.source or 'outside'} to {self.sink or 'outside'}"


class Event(_Kept):
    """One transition of one row, written by the triggers in the transaction that caused it.

    What is told of one row is in the order of the ids.
    """

    # The model's label and the primary key's text: the row may be of any model, and may be gone.
    subject_type = models.TextField()
    subject_id = models.TextField()

    class Meta:
        db_table = "kck_event"
        indexes = [
            models.Index(fields=["key_base", "at"], name="kck_event_family"),
            models.Index(fields=["subject_type", "subject_id"], name="kck_event_subject"),
            models.Index(
                fields=["key_base", "id"], name="kck_event_due", condition=models.Q(callback_state="due")
            ),
        ]


class FlowEvent(_Kept):
    """Base of a model of an app's own that keeps the events of flows, for ``record_events``.

    The model adds ``subject``, a foreign key to the flow's model or to a parent of it, with ``null=True``,
    ``db_constraint=False`` and ``on_delete=models.DO_NOTHING`` (or ``SET_NULL``): the row may be gone, and its event
    stays. A field that is named like a facet or a parameter of the flow holds its value; any other is left empty, and
    must be able to be. Several flows of one model may share it. Whatever could refuse an event would refuse the write
    that it tells of: the check E012 tells.

    It has the indexes of the shared table, whatever its own ``Meta`` says.
    """

    # How declarations, which import no table, know such a model.
    keeps_transitions = True

    class Meta:
        abstract = True


def _index_events(sender: type[models.Model], **_: Any) -> None:
    """Give a model of events the indexes that it is read by: a ``Meta`` of its own inherits none."""
    options = sender._meta
    if not issubclass(sender, FlowEvent) or options.proxy:
        return
    # An index with a condition needs a name, of 30 characters at most, and of no other table.
    name = names_digest(options.label_lower, length=12)
    options.indexes = [
        *options.indexes,
        models.Index(fields=["key_base", "at"], name=f"kck_{name}_family"),
        models.Index(fields=["key_base", "id"], name=f"kck_{name}_due", condition=Q(callback_state="due")),
    ]
    options.original_attrs["indexes"] = options.indexes  # what migrations go by


class_prepared.connect(_index_events, dispatch_uid="kck_flow.events")


class IntervalQuerySet(models.QuerySet[Any]):
    """Queries of intervals, half-open ``[start_at, end_at)``; one without an end still lasts. Bounds are aware."""

    def at(self, instant: datetime) -> Self:
        """Return those that an instant is in."""
        return self.filter(Q(end_at=None) | Q(end_at__gt=instant), start_at__lte=instant)

    def overlapping(self, start: datetime, end: datetime) -> Self:
        """Return those of which some lies in ``[start, end)``; one of no length, where its instant does."""
        lasting = Q(end_at=None) | Q(end_at__gt=start) | Q(end_at=start, start_at=start)
        return self.filter(lasting, start_at__lt=end) if start < end else self.none()

    def within(self, start: datetime, end: datetime) -> Self:
        """Return those that lie in ``[start, end)`` as a whole."""
        return self.filter(Q(end_at__lte=end), start_at__gte=start, start_at__lt=end)

    def lasting(self, at_least: timedelta | None = None, at_most: timedelta | None = None) -> Self:
        """Return those that have ended, and were as long as that, both bounds included."""
        bounds = {"duration__gte": at_least, "duration__lte": at_most}
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        return self.filter(end_at__isnull=False, **given)


class TimedInterval(models.Model):
    """Base of a model of an app's own whose rows last for a while: ``[start_at, end_at)``, and for how long.

    Its queries are those of ``IntervalQuerySet``, by ``objects``; a manager of your own is made from that
    (``IntervalQuerySet.as_manager()``). It has its check, and an index on ``start_at``, whatever its own ``Meta`` says.
    """

    start_at = models.DateTimeField()
    # NULL while it lasts.
    end_at = models.DateTimeField(null=True, blank=True)
    # Kept by the database; NULL while it lasts.
    duration = models.GeneratedField(
        expression=F("end_at") - F("start_at"), output_field=models.DurationField(null=True), db_persist=True
    )

    objects = IntervalQuerySet.as_manager()

    class Meta:
        abstract = True


def _guard_intervals(sender: type[models.Model], **_: Any) -> None:
    """Give a model of intervals its check and its index: a ``Meta`` of its own inherits none."""
    options = sender._meta
    if not issubclass(sender, TimedInterval) or options.proxy:
        return
    if not any(field.name == "end_at" for field in options.local_fields):
        return  # they stand in the table of a parent
    name = names_digest(options.label_lower, length=12)
    ends_after = models.CheckConstraint(
        condition=Q(end_at__gte=F("start_at")),
        name=f"kck_{name}_ends_after",
        violation_error_message="An interval ends no sooner than it begins.",
    )
    options.constraints = [*options.constraints, ends_after]
    options.indexes = [*options.indexes, models.Index(fields=["start_at"], name=f"kck_{name}_start")]
    options.original_attrs["constraints"] = options.constraints  # what migrations go by
    options.original_attrs["indexes"] = options.indexes


class_prepared.connect(_guard_intervals, dispatch_uid="kck_flow.intervals")


class Record(models.Model):
    """The value of a product at an instant or for a window. Appended, never edited: a correction is a new revision."""

    id = models.BigAutoField(primary_key=True)
    digest = models.UUIDField()
    key = models.TextField()
    key_base = models.TextField()
    start_at = models.DateTimeField()
    end_at = models.DateTimeField(null=True)
    value = models.JSONField(null=True)
    facet = models.TextField(db_default="")
    facet_value = models.JSONField(null=True)
    # 128 bits of the facet value's normal text; of the empty text for "all": part of the identity.
    facet_digest = models.UUIDField(db_default=uuid.UUID(int=0))
    revision = models.IntegerField(db_default=1)
    version = models.BigIntegerField(db_default=0)
    primer_version = models.IntegerField(db_default=1)
    generation = models.BigIntegerField(null=True)
    complete = models.BooleanField(db_default=True)
    written_at = models.DateTimeField()

    class Meta:
        db_table = "kck_record"
        constraints = [
            models.UniqueConstraint(
                fields=["digest", "facet", "facet_digest", "start_at", "revision"], name="kck_record_once"
            )
        ]
        indexes = [models.Index(fields=["key_base", "start_at"], name="kck_record_family")]


class ConfiguredMetric(models.Model):
    """A metric that is stored as a row: a type, and what it needs to be told. Its product is ``metric/<slug>``.

    Saving it raises ValidationError where a property is unknown or wrong.
    """

    PERIODS = [(unit, unit) for unit in UNITS]
    FORMATS = [(one, one) for one in NUMBER_FORMATS]
    GOOD = [("up", "up"), ("down", "down"), ("neither", "neither")]
    ROLLUPS = [("", "as the type says"), *((one, one) for one in ROLLUPS)]

    slug = models.SlugField(unique=True, max_length=80)
    type = models.CharField(max_length=80)
    properties = models.JSONField(default=dict, blank=True)
    label = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    section = models.CharField(max_length=100, blank=True)
    unit = models.CharField(max_length=50, blank=True)
    unit_plural = models.CharField(max_length=50, blank=True)
    number_format = models.CharField(max_length=10, choices=FORMATS, blank=True)
    precision = models.PositiveSmallIntegerField(null=True, blank=True)
    good = models.CharField(max_length=7, choices=GOOD, default="neither")
    goal = models.DecimalField(max_digits=40, decimal_places=10, null=True, blank=True)
    period = models.CharField(max_length=5, choices=PERIODS, default="day")
    # The project's zone where not given.
    tz = models.CharField(max_length=64, blank=True)
    rollup = models.CharField(max_length=4, choices=ROLLUPS, default="", blank=True)
    position = models.IntegerField(default=0)
    # It keeps its history, and is not collected.
    paused = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "kck_metric"
        ordering = ("section", "position", "slug")
        verbose_name = "metric"

    def __str__(self) -> str:
        return self.label or self.slug

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the row. Raises ValidationError: something in it is wrong."""
        self.full_clean()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Raise ValidationError where the type, its properties or the zone are unknown or wrong."""
        declared = registry.metric_types.get(self.type)
        if declared is None:
            raise ValidationError({"type": registry.no_metric_type(self.type)})
        if not isinstance(self.properties, dict):
            raise ValidationError({"properties": f"The properties are an object, not {self.properties!r}."})
        try:
            self.properties = declared.as_json(declared.cleaned(self.properties))
        except WrongProperties as error:
            raise ValidationError({"properties": list(error.errors.values())}) from None
        try:
            Window(self.period, self.tz or None)
        except DeclarationError as error:
            raise ValidationError({"tz": str(error)}) from None


class SharedLink(models.Model):
    """A signed link that somebody gave away: what it shows is in the link, whether it still holds is here."""

    name = models.SlugField(unique=True, max_length=80)
    key = models.TextField()
    # The primary key of the user who gave it, as text: it holds as long as that user may share the product.
    made_by = models.TextField(blank=True)
    # Whom to ask when it is over.
    contact = models.CharField(max_length=200, blank=True)
    # The origins whose pages may show it in a frame.
    frame_ancestors = models.JSONField(default=list, blank=True)
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "kck_link"
        ordering = ("name",)
        verbose_name = "signed link"

    def __str__(self) -> str:
        return self.name


class ConfiguredDashboard(models.Model):
    """A dashboard that is stored as a row, at ``dashboards/<slug>``."""

    slug = models.SlugField(unique=True, max_length=80)
    label = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    # Besides what each product of it says; the project's rule where empty.
    permission = models.CharField(max_length=200, blank=True)
    position = models.IntegerField(default=0)
    hidden = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "kck_dashboard"
        ordering = ("position", "slug")
        verbose_name = "dashboard"

    def __str__(self) -> str:
        return self.label


class ConfiguredPanel(models.Model):
    """A piece of a dashboard that is stored as a row: a product, and how it is shown.

    Saving it raises ValidationError where its product or an option is unknown or wrong.
    """

    SHOWS = [(one, one) for one in SHOWS]

    dashboard = models.ForeignKey(ConfiguredDashboard, models.CASCADE, related_name="panels")
    position = models.IntegerField(default=0)
    section = models.CharField(max_length=100, blank=True)
    key = models.TextField()
    show = models.CharField(max_length=10, choices=SHOWS, default="auto")
    options = models.JSONField(default=dict, blank=True)
    hidden = models.BooleanField(default=False)

    class Meta:
        db_table = "kck_panel"
        ordering = ("position", "id")
        verbose_name = "panel"

    def __str__(self) -> str:
        return self.key

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the row. Raises ValidationError: something in it is wrong."""
        self.full_clean()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Raise ValidationError where the product is unknown, or an option is unknown or wrong."""
        try:
            self.key = str(registry.key(self.key))
        except KckFlowError as error:
            raise ValidationError({"key": str(error)}) from None
        if not isinstance(self.options, dict):
            raise ValidationError({"options": f"The options are an object, not {self.options!r}."})
        wrong = wrong_options(self.options)
        if wrong:
            raise ValidationError({"options": [f"{name}: {said}" for name, said in wrong.items()]})
        if self.show in SHOWS:  # else its own field says so
            unfit = registry.wrong_panel(registry.key(self.key).key_base, self.show, self.options)
            if unfit:
                raise ValidationError(unfit)


class Annotation(models.Model):
    """What happened, for people who wonder why a line bends: at an instant, or from then until ``end_at``."""

    start_at = models.DateTimeField()
    end_at = models.DateTimeField(null=True, blank=True)
    text = models.CharField(max_length=200)
    # Of a family, or of one product; empty: everywhere.
    key = models.TextField(blank=True)

    class Meta:
        db_table = "kck_annotation"
        ordering = ("start_at", "id")
        indexes = [models.Index(fields=["start_at"], name="kck_annotation_start")]

    def __str__(self) -> str:
        return self.text


class Run(models.Model):
    """What happened when a refresh was carried out."""

    DONE, UNCHANGED, FAILED, FENCED, SUPERSEDED, RELEASED, LOST = (
        "done", "unchanged", "failed", "fenced", "superseded", "released", "lost",
    )  # fmt: skip

    id = models.BigAutoField(primary_key=True)
    digest = models.UUIDField()
    key = models.TextField()
    key_base = models.TextField()
    token = models.BigIntegerField(db_default=0)
    reason = models.TextField(db_default="")
    causes = models.JSONField(null=True)
    lane = models.SmallIntegerField(null=True)
    nominal = models.DateTimeField(null=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    outcome = models.CharField(max_length=10)
    error = models.TextField(db_default="")
    traceback = models.TextField(db_default="")
    version = models.BigIntegerField(null=True)
    bytes = models.BigIntegerField(null=True)
    worker = models.TextField(db_default="")
    statements = models.JSONField(null=True)  # the SQL that it ran: [text, how often] each

    class Meta:
        db_table = "kck_run"
        indexes = [
            models.Index(fields=["digest", "-id"], name="kck_run_product"),
            models.Index(fields=["key_base", "-id"], name="kck_run_family"),
        ]


class Worker(models.Model):
    """A worker process: diagnosis, and the number its liveness lock carries."""

    id = models.BigAutoField(primary_key=True)
    host = models.TextField()
    pid = models.IntegerField()
    version = models.TextField(db_default="")
    lanes = models.JSONField(null=True)
    products = models.JSONField(null=True)
    executor = models.TextField(db_default="process")
    concurrency = models.IntegerField(db_default=1)
    mode = models.TextField(db_default="listen")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    in_flight = models.IntegerField(db_default=0)

    class Meta:
        db_table = "kck_worker"


class Usage(models.Model):
    """What reads of a family came to in an hour, told by each process now and then."""

    pk = models.CompositePrimaryKey("key_base", "hour")
    key_base = models.TextField()
    hour = models.DateTimeField()
    fresh = models.BigIntegerField(db_default=0)
    stale = models.BigIntegerField(db_default=0)
    missed = models.BigIntegerField(db_default=0)  # computed because it was asked for
    failed = models.BigIntegerField(db_default=0)  # the last good value, or an error

    class Meta:
        db_table = "kck_usage"


class Permit(models.Model):
    """One of the ``max_concurrency`` places of a primer, held under a lease while a refresh of it runs."""

    pk = models.CompositePrimaryKey("key_base", "place")
    key_base = models.TextField()
    place = models.IntegerField()
    slot = models.BigIntegerField(null=True)
    token = models.BigIntegerField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "kck_permit"


class Flight(models.Model):
    """Who makes an entry of one of Django's caches that is missing, while the others wait."""

    digest = models.UUIDField(primary_key=True)
    lease_until = models.DateTimeField()

    class Meta:
        db_table = "kck_flight"


class Xid8(models.Field):  # type: ignore[type-arg]
    """The number of a transaction, as PostgreSQL counts them: 64 bits, never the same again."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "xid8"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        return int(value) if value is not None else None


class Outbox(models.Model):
    """The log of messages: what the project sent in its own transactions, and what sources brought. Appended only."""

    id = models.BigAutoField(primary_key=True)
    # Of the source and the message's id: one that comes again finds itself there.
    digest = models.UUIDField(unique=True)
    # Empty: the project itself.
    source = models.TextField(db_default="")
    topic = models.TextField()
    message_id = models.TextField()
    partition_key = models.TextField(db_default="")
    # Of the partition key: topics that are split read some of them each.
    shard = models.SmallIntegerField(db_default=0)
    at = models.DateTimeField()
    body = models.JSONField(null=True)
    headers = models.JSONField(null=True)
    # Key bases of the topics that it was fetched for, from history; null: whoever reads its topic.
    audience = models.JSONField(null=True)
    # Of the transaction that appended it: whoever has read up to a snapshot knows by it what has come since.
    xact = Xid8(db_default=Func(function="pg_current_xact_id"), editable=False)
    received_at = models.DateTimeField(db_default=Func(function="clock_timestamp"), editable=False)

    class Meta:
        db_table = "kck_outbox"
        indexes = [
            models.Index(fields=["xact", "id"], name="kck_outbox_log"),
            models.Index(fields=["topic", "at"], name="kck_outbox_topic"),
        ]

    def __str__(self) -> str:
        return f"{self.topic}: {self.message_id}"


class Cursor(models.Model):
    """How far a reader has come: a topic in a partition of the log, a source, a stream."""

    pk = models.CompositePrimaryKey("reader", "part")
    # The key base of a topic, "source:NAME" or "stream:NAME"; "history:NAME": who fetches what a source remembers, and
    # until when nobody else does.
    reader = models.TextField()
    part = models.SmallIntegerField(db_default=0)
    position = models.JSONField(null=True)
    # Nothing before it is counted or asked for.
    since = models.DateTimeField(null=True)
    watermark = models.DateTimeField(null=True)
    # Since it began: how many it took, and how many of them came after their window was taken to be complete, or too
    # late to be told from one that had been there.
    messages = models.BigIntegerField(db_default=0)
    late = models.BigIntegerField(db_default=0)
    refused = models.BigIntegerField(db_default=0)
    # Intervals: what was fetched from history (of a topic, by source), what is known to be missing.
    fetched = models.JSONField(null=True)
    missing = models.JSONField(null=True)
    begun_at = models.DateTimeField()
    moved_at = models.DateTimeField(null=True)
    error = models.TextField(db_default="")

    class Meta:
        db_table = "kck_cursor"


class Held(models.Model):
    """A message that a topic has set aside: to be enriched first, or because its handler failed."""

    WAITING, READY, PARKED = "waiting", "ready", "parked"

    id = models.BigAutoField(primary_key=True)
    key_base = models.TextField()
    part = models.SmallIntegerField(db_default=0)
    message = models.BigIntegerField()
    source = models.TextField(db_default="")
    topic = models.TextField()
    message_id = models.TextField()
    partition_key = models.TextField(db_default="")
    at = models.DateTimeField()
    body = models.JSONField(null=True)
    headers = models.JSONField(null=True)
    state = models.CharField(max_length=7)
    enriched = models.JSONField(null=True)
    attempts = models.IntegerField(db_default=0)
    # When it is tried again; null: not by itself.
    retry_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    error = models.TextField(db_default="")
    traceback = models.TextField(db_default="")
    held_at = models.DateTimeField()

    class Meta:
        db_table = "kck_held"
        constraints = [models.UniqueConstraint(fields=["key_base", "message"], name="kck_held_once")]
        indexes = [models.Index(fields=["key_base", "state", "id"], name="kck_held_family")]


class Frame(models.Model):
    """A time frame: one window of a stream, planned, closed or skipped. Its value is a record."""

    PLANNED, CLOSED, SKIPPED = "planned", "closed", "skipped"

    # Of its key.
    digest = models.UUIDField(primary_key=True)
    key = models.TextField()
    key_base = models.TextField()
    args = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    # 128 bits of its key without the window: the frames of one product.
    series = models.UUIDField()
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    state = models.CharField(max_length=7, db_default=PLANNED)
    # Why it was skipped.
    reason = models.TextField(db_default="")
    # How often it was asked for, and what of that its value has seen.
    want = models.BigIntegerField(db_default=1)
    have = models.BigIntegerField(db_default=0)
    # Of the lease under which it is being computed.
    token = models.BigIntegerField(null=True)
    revision = models.IntegerField(db_default=0)
    primer_version = models.IntegerField(db_default=1)
    items = models.BigIntegerField(null=True)
    late = models.BigIntegerField(db_default=0)
    # Whether the source had all of it.
    complete = models.BooleanField(db_default=True)
    planned_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    cleaned_at = models.DateTimeField(null=True)
    compute_ms = models.FloatField(null=True)
    cleanup_ms = models.FloatField(null=True)
    cleanup_error = models.TextField(db_default="")

    class Meta:
        db_table = "kck_frame"
        indexes = [
            models.Index(fields=["series", "start_at"], name="kck_frame_series"),
            models.Index(fields=["key_base", "state", "start_at"], name="kck_frame_family"),
        ]

    def __str__(self) -> str:
        return self.key


class FrameRecord(models.Model):
    """Base of a model of an app's own that holds the values of a time frame, for ``record_model``: a column for each of
    what ``compute`` returns.

    A frame computed again is another row, of the next revision; ``current`` is the one that holds. Of one frame one is
    current, whatever its own ``Meta`` says.
    """

    # How declarations, which import no table, know such a model.
    keeps_frames = True

    id = models.BigAutoField(primary_key=True)
    digest = models.UUIDField(editable=False)
    key = models.TextField()
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    revision = models.IntegerField()
    current = models.BooleanField()
    complete = models.BooleanField()
    primer_version = models.IntegerField()
    written_at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.key


def _constrain_frames(sender: type[models.Model], **_: Any) -> None:
    """Give a model of frames what makes a frame unique: a ``Meta`` of its own inherits none."""
    options = sender._meta
    if not issubclass(sender, FrameRecord) or options.proxy:
        return
    name = names_digest(options.label_lower, length=12)
    options.constraints = [
        *options.constraints,
        models.UniqueConstraint(fields=["digest", "revision"], name=f"kck_{name}_once"),
        models.UniqueConstraint(fields=["digest"], condition=Q(current=True), name=f"kck_{name}_current"),
    ]
    options.indexes = [*options.indexes, models.Index(fields=["start_at"], name=f"kck_{name}_start")]
    options.original_attrs["constraints"] = options.constraints  # what migrations go by
    options.original_attrs["indexes"] = options.indexes


class_prepared.connect(_constrain_frames, dispatch_uid="kck_flow.frames")
