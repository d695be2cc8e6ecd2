"""ModelStream: the rows of a table, in the order of a column that says when."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import models, router, transaction
from django.db.models import BooleanField, F, Func, Q, QuerySet, Value

from .entry import Row
from .errors import DeclarationError
from .store import server
from .store.session import caller
from .stream import Stream
from .windows import EPOCH, Window

PAGE = 2000  # rows in memory at once, whatever is read; deleted in one transaction
_AT = "_kck_at"


class ModelStream(Stream):
    """The rows of a table, by a column that says when. A row in which it is NULL is not in the stream.

    Rows are read in pages of 2,000, each going on behind the last row of the one before: memory stays the same however
    much is read, and what is inserted or deleted meanwhile makes nothing come twice or be left out. Give the table an
    index on ``at`` and the primary key; of a stream that is split by a column, that column first.

    Args:
        model: A model class or ``"app_label.ModelName"``. All rows of its table, whatever its managers leave out.
        at: Its column that says when: a ``DateTimeField``, or a ``DateField`` with ``tz``.
        name: What the stream is called in commands; ``"app_label.modelname"`` where not given.
        filter: Which rows, a ``Q``; all where not given.
        fields: What is read of each row, as ``values()`` takes it (``"customer__country"``): the items are light
            ``Row`` objects. Without it they are instances of the model.
        order: ``"at"``, columns that are never NULL, ``"pk"``: in which order rows of one instant come.
        watermark: Up to when the stream is complete. ``"now"``: up to when no running transaction can still write what
            is of then, as the database sees it. ``"latest"``: up to the last row. A function without arguments: what
            it returns, an aware instant or None.
        using: Alias of the database; the one that the model is written to where not given.
        tz: Zone in which the days of a ``DateField`` begin: a row of a day is an item at its first instant.

    With ``"now"``, a transaction that only reads holds the watermark back as well, for whether it will write nobody
    knows. Rows whose column an application's clock has set before their transaction began may still come behind it;
    so may those of other roles' sessions, where ours may not see when they began (``GRANT pg_read_all_stats``). On a
    standby it is None.

    Raises:
        DeclarationError: the model has no such column, or one that says no instant.
    """

    def __init__(
        self,
        model: type[models.Model] | str,
        at: str = "created_at",
        *,
        name: str | None = None,
        filter: Q | None = None,
        fields: Sequence[str] | None = None,
        order: Sequence[str] = ("at", "pk"),
        watermark: Literal["now", "latest"] | Callable[[], datetime | None] = "now",
        using: str | None = None,
        tz: str | None = None,
    ) -> None:
        label = model if isinstance(model, str) else getattr(getattr(model, "_meta", None), "label", "")
        if not label or label.count(".") != 1:
            raise DeclarationError(
                f"A ModelStream is of a model, a class or 'app_label.ModelName', not {model!r}."
            )
        self.name = name or label.lower()
        if fields is not None and (isinstance(fields, str) or not fields):
            raise self._mistake(f"fields is a list of names, not {fields!r}")
        if filter is not None and not isinstance(filter, Q):
            raise self._mistake(f"filter is a Q, such as Q(state='paid'), not {filter!r}")
        if watermark not in ("now", "latest") and not callable(watermark):
            raise self._mistake(f"watermark is 'now', 'latest' or a function, not {watermark!r}")
        if isinstance(order, str) or len(order) < 2 or order[0] != "at" or order[-1] != "pk":
            raise self._mistake(f"order begins with 'at' and ends with 'pk', and is {order!r}")
        self._given = model
        self._at = at
        self._filter = filter if filter is not None else Q()
        self._fields = tuple(fields) if fields is not None else None
        self._order = tuple(order)
        self._watermark = watermark
        # By the clock it moves by itself; where it does not, somebody may still write what happened before.
        self.stands_still = watermark != "now"
        self._using = using
        self._tz = tz
        if apps.models_ready:
            self._look()

    def _look(self) -> None:
        """Raise what is declared wrongly, as soon as it can be told."""
        _ = self._days, self._ties, self._query()

    def _mistake(self, what: str) -> DeclarationError:
        return DeclarationError(f"The stream {self.name!r}: {what}.")

    # -- what it is of
    # --------------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> type[models.Model]:
        """The model whose rows these are."""
        if isinstance(self._given, str):
            try:
                return apps.get_model(self._given)
            except (LookupError, ValueError):
                raise self._mistake(f"there is no model {self._given!r}") from None
        return self._given

    @property
    def database(self) -> str:
        """The alias of the database that it is read from."""
        return self._using or str(router.db_for_write(self.model))

    @property
    def origin(self) -> tuple[str, str]:
        # A row of several tables goes from all of them.
        root = [*self.model._meta.get_parent_list(), self.model][0 if self.model._meta.parents else -1]
        return self.database, str(root._meta.db_table)

    @cached_property
    def _days(self) -> Window | None:
        """The days that the column tells; None where it tells instants."""
        try:
            field: Any = self.model._meta.get_field(self._at)
        except FieldDoesNotExist:
            raise self._mistake(f"{self.model._meta.label} has no column {self._at!r}") from None
        kind = getattr(field, "output_field", None) or field  # of a generated column
        if isinstance(kind, models.DateTimeField):
            if self._tz is not None:
                raise self._mistake(
                    f"{self._at!r} holds instants, which are the same in any zone: leave out tz"
                )
            return None
        if not isinstance(kind, models.DateField):
            raise self._mistake(
                f"{self._at!r} is a {type(kind).__name__}, which says no instant: give a DateTimeField or a DateField"
            )
        if self._tz is None:
            raise self._mistake(
                f"{self._at!r} holds days: say in which zone they begin, as in tz='Europe/Paris'"
            )
        try:
            return Window("day", self._tz)
        except DeclarationError as error:
            raise self._mistake(str(error).rstrip(".")) from None

    @cached_property
    def _ties(self) -> tuple[models.Field[Any, Any], ...]:
        """The columns by which rows of one instant are told apart."""
        meta = self.model._meta
        found: list[models.Field[Any, Any]] = []
        for name in self._order[1:-1]:
            try:
                field: Any = meta.get_field(name)
            except FieldDoesNotExist:
                raise self._mistake(f"{meta.label} has no column {name!r} to order by") from None
            if field.null or not getattr(field, "concrete", False):
                raise self._mistake(f"it cannot be ordered by {name!r}, which may be NULL or is no column")
            found.append(field)
        return (*found, *meta.pk_fields)

    def _query(self) -> QuerySet[Any]:
        try:
            query: QuerySet[Any] = QuerySet(self.model, using=self.database).filter(self._filter)
            if self._fields is not None:
                query.values_list(*self._selected())
        except FieldError as error:
            raise self._mistake(str(error).rstrip(".")) from error
        return query

    # -- instants, as the column has them
    # -------------------------------------------------------------------------------

    def _from(self, instant: datetime, *, strictly: bool = False) -> Any:
        """Return the first value of the column that lies at an instant or after it."""
        if instant.tzinfo is None:
            raise ValueError(f"The stream {self.name!r} is read by aware instants, and {instant} is naive.")
        if self._days is None:
            return instant.astimezone(UTC)
        begins = self._days.start_of(instant)
        day = begins.astimezone(self._days.zone).date()
        return day if begins == instant else day + timedelta(days=1)

    def _instant(self, told: Any) -> datetime:
        """Return the instant of what ``_at_sql`` told of a row."""
        if self._days is None:
            return EPOCH + timedelta(microseconds=told)
        noon = datetime.combine(told, time(12), tzinfo=ZoneInfo(str(self._tz)))
        return self._days.start_of(noon)

    def _at_sql(self) -> Any:
        # A number: with USE_TZ = False, Django's naive instants are two an hour each autumn.
        return F(self._at) if self._days is not None else _Microseconds(F(self._at))

    def _between(self, start: datetime | None, end: datetime | None) -> QuerySet[Any]:
        bounds = {f"{self._at}__{bound}": self._from(at) for bound, at in (("gte", start), ("lt", end)) if at}
        return self._query().filter(**(bounds or {f"{self._at}__isnull": False}))

    def _end(self, order: str) -> datetime | None:
        found = self._between(None, None).order_by(f"{order}{self._at}").values_list(self._at_sql())[:1]
        return next((self._instant(at) for (at,) in found), None)

    # -- a stream
    # -----------------------------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        return not self._between(None, None).exists()

    def earliest(self) -> datetime | None:
        return self._end("")

    def latest(self) -> datetime | None:
        return self._end("-")

    def read(
        self, start: datetime, end: datetime, *, after: Any = None, limit: int | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (place, row) of the rows in ``[start, end)``; a place is (instant, …, primary key)."""
        query = self._between(start, end)
        names = [field.attname for field in self._ties]
        left = limit
        while left is None or left > 0:
            most = PAGE if left is None else min(PAGE, left)
            page = self._page(query, names, after, most)
            for after, item in page:
                yield after, item
            if len(page) < most:
                return
            left = left - most if left is not None else None

    def _page(self, query: QuerySet[Any], names: list[str], after: Any, most: int) -> list[tuple[Any, Any]]:
        query = self._behind(query, after).order_by(self._at, *names)
        if self._fields is not None:
            rows = query.values_list(*self._selected(), self._at_sql(), *names)[:most]
            width = len(self._fields)
            instants = [self._instant(row[width]) for row in rows]
            return [
                ((at, *row[width + 1 :]), self._item(dict(zip(self._fields, row, strict=False)), at))
                for at, row in zip(instants, rows, strict=True)
            ]
        found = []
        for row in query.annotate(**{_AT: self._at_sql()})[:most]:
            at = self._instant(row.__dict__.pop(_AT))
            found.append(((at, *(getattr(row, name) for name in names)), row))
        return found

    def _selected(self) -> Sequence[Any]:
        """What is selected for each of the fields: itself."""
        return self._fields or ()

    def _item(self, row: dict[str, Any], at: datetime) -> Any:
        return Row(row)

    def _behind(self, query: QuerySet[Any], after: Any) -> QuerySet[Any]:
        if after is None:
            return query
        at, *ties = after
        field: Any = models.DateField() if self._days is not None else models.DateTimeField()
        columns = [F(self._at), *(F(one.attname) for one in self._ties)]
        values = [Value(self._from(at), field)]
        values += [Value(tie, _concrete(one)) for tie, one in zip(ties, self._ties, strict=True)]
        return query.filter(_Behind(*columns, *values))

    def watermark(self) -> datetime | None:
        if self._watermark == "latest":
            return self.latest()
        if callable(self._watermark):
            return self._watermark()
        now = server.settled_at(caller(self.database))
        # The rows of a day may come until it is over.
        return self._days.start_of(now) if now is not None and self._days is not None else now

    def count(self, start: datetime, end: datetime) -> int:
        return self._between(start, end).count()

    def _deletable(self, start: datetime | None, cutoff: datetime) -> QuerySet[Any]:
        """Return the rows before ``cutoff`` (and not before ``start``) that may be deleted."""
        return self._between(start, cutoff)

    def count_before(self, cutoff: datetime) -> int:
        return self._deletable(None, cutoff).count()

    def cuts_before(self, cutoff: datetime) -> Iterator[datetime]:
        """Yield instants up to ``cutoff``, with some 2,000 rows to delete before each."""
        cut = None
        while cut is None or cut < cutoff:
            query = self._deletable(cut, cutoff).order_by(self._at)
            found = list(query.values_list(self._at_sql(), flat=True)[:PAGE])
            # Just behind the last of them: the column has microseconds, or days.
            cut = self._instant(found[-1]) + timedelta(microseconds=1) if len(found) == PAGE else cutoff
            cut = min(cut, cutoff)
            yield cut

    def delete_before(self, cutoff: datetime) -> int:
        """Delete the rows before ``cutoff``, as Django deletes: with what cascades, and the signals of both.

        Each 2,000 rows are a transaction, where the caller has none. Returns how many rows of the stream there were;
        what went with them is not counted.

        Raises:
            ProtectedError, RestrictedError: other rows hold on to one. What was deleted before it stays deleted.
        """
        table = self.model._meta.concrete_model or self.model
        names = [field.attname for field in self._ties]
        query, after, gone = self._deletable(None, cutoff), None, 0
        while True:
            page = self._behind(query, after).order_by(self._at, *names)
            rows = list(page.values_list(self._at_sql(), "pk", *names)[:PAGE])
            if not rows:
                return gone
            with transaction.atomic(using=self.database):
                # Again by its instant: a row may have moved since.
                held: QuerySet[Any] = QuerySet(table, using=self.database).filter(
                    pk__in=[row[1] for row in rows]
                )
                _, each = held.filter(**{f"{self._at}__lt": self._from(cutoff)}).delete()
            gone += each.get(table._meta.label, 0)
            after = (self._instant(rows[-1][0]), *rows[-1][2:])

    def narrowed(self, params: Mapping[str, Any]) -> Self:
        """Return the rows in which some columns have these values, by name.

        Raises:
            DeclarationError: there is no such column.
        """
        if not params:
            return self
        return self._where(Q(*params.items()))

    def _where(self, more: Q) -> Self:
        found = copy.copy(self)
        found._filter = self._filter & more
        found._query()
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class _Microseconds(Func):
    """An instant as microseconds since 1970, to the last one."""

    template = "(extract(epoch FROM %(expressions)s) * 1000000)::bigint"
    output_field = models.BigIntegerField()


class _Behind(Func):
    """Whether some columns stand behind some values, in their order: a comparison of rows, which an index knows."""

    output_field = BooleanField()

    def as_sql(
        self, compiler: Any, connection: Any, *args: Any, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        compiled = [compiler.compile(one) for one in self.get_source_expressions()]
        half = len(compiled) // 2
        columns, values = (", ".join(sql for sql, _ in side) for side in (compiled[:half], compiled[half:]))
        return f"(({columns}) > ({values}))", tuple(param for _, params in compiled for param in params)


def _concrete(field: Any) -> Any:
    while field.is_relation:
        field = field.target_field
    return field
