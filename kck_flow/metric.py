"""Metric: a number remembered per period; MetricType: a way to measure one, with properties of its own."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from functools import cache, cached_property
from math import fsum, isfinite
from typing import Any, ClassVar, Final, Literal

from .errors import DeclarationError, UnstorableValue
from .key import Key
from .parameter import REQUIRED, Parameter, parameters
from .primer import Primer, is_whole
from .schedule import every
from .windows import UNITS, Window

ROLLUPS: Final = ("last", "sum", "mean", "min", "max")
DIGITS: Final = 2000  # of a sum of decimals: all that they have
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Span:
    """One period of a metric: ``[start, end)``, aware instants."""

    start: datetime
    end: datetime


class MetricType:
    """A way to measure: what it needs to be told, and how it measures.

    Subclass it in an app's ``primers.py``; a metric that is stored as a row names its type by ``name``.

    Attributes:
        name: Its name in rows and on the command line; the class's name in snake case where not given.
        label: For people; the first line of the docstring where not given.
        properties: What it needs: parameters, as of a primer. Those with a default may be left out.
        rollup: How the numbers of several periods make one of a longer one: ``"last"``, ``"sum"`` or ``"mean"``. Where
            not given, ``"sum"`` of what answers for the past, else ``"last"``.
        number_format: How the number is shown, where the metric does not say.
    """

    name: ClassVar[str] = ""
    label: ClassVar[Any] = ""
    properties: ClassVar[Sequence[Any]] = ()
    rollup: ClassVar[str] = ""
    number_format: ClassVar[str] = ""

    def measure(self, *args: Any, **properties: Any) -> Any:
        """Return the number: an int, a Decimal, a finite float, a timedelta (in seconds), or None where there is none.

        Define it with the properties as arguments by name, and with ``span``, the period that is measured: one that
        takes none measures what is now, and cannot answer for the past.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define measure(self, span, …).")

    def answers_for_the_past(self, **properties: Any) -> bool:
        """Whether it can say what a period that is over was; where not overridden, by ``measure`` taking a ``span``."""
        return _asks_for_span(type(self).measure)

    def rolls_up_by(self, **properties: Any) -> str:
        """Return how several periods make one; where not overridden, ``rollup``."""
        return self.rollup

    # -- what the rest of the package asks

    @classmethod
    def known_as(cls) -> str:
        """Return the name of the type."""
        return cls.name or _HUMP.sub("_", cls.__name__).lower()

    @classmethod
    def text(cls) -> str:
        """Return what it is called by people."""
        doc = (cls.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        return str(cls.label or doc or cls.known_as())

    @classmethod
    def declared(cls) -> tuple[Parameter[Any], ...]:
        """Return its properties. Raises DeclarationError: they are declared wrongly."""
        return parameters(cls.properties)

    @classmethod
    def cleaned(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the properties of one metric, typed, defaults filled in.

        Raises:
            ValueError: one is unknown, missing or wrong; the message names it. Its ``errors`` is all of them by name.
        """
        known = {one.name: one for one in cls.declared()}
        errors: dict[str, str] = {}
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                errors[name] = (
                    f"{cls.known_as()!r} has no property {name!r}.{hint} It has: {', '.join(known) or 'none'}."
                )
        found: dict[str, Any] = {}
        for name, one in known.items():
            value = given.get(name, one.default)
            if value is REQUIRED:
                errors[name] = f"{cls.known_as()!r} needs the property {name!r}: {one.expected}."
                continue
            try:
                found[name] = value if value is None and one.default is None else one.clean(value)
            except (ValueError, TypeError) as error:
                errors[name] = f"The property {name!r} of {cls.known_as()!r} {error}."
        if errors:
            raise WrongProperties(errors)
        return found

    @classmethod
    def as_json(cls, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Return properties as they are stored in a row."""
        known = {one.name: one for one in cls.declared()}
        return {name: known[name].to_json(value) for name, value in properties.items()}

    def call(self, span: Span, properties: Mapping[str, Any]) -> Any:
        """Measure with these properties, for a span where the type takes one."""
        measure: Callable[..., Any] = self.measure
        return (
            measure(span=span, **properties) if _asks_for_span(type(self).measure) else measure(**properties)
        )


class WrongProperties(ValueError):
    """The properties of a metric do not fit its type. ``errors`` is a sentence for each, by name."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = dict(errors)


class Metric(Primer):
    """A number remembered per period: what it is now is a product, and each period has its record.

    ``compute(self, key)`` measures what is now; ``compute(self, key, span)`` measures a period, also one that is over:
    such a metric is filled in where periods were missed. Or ``type`` measures, with ``properties``.

    ``cache.get("sign_ups")`` is the current period's number, ``cache.series("sign_ups", start, end)`` has a point for
    each period. It is collected by its ``schedule``, by ``manage.py kck collect``, and on a read past its expiry; what
    is collected again in the same period is the next revision of its record.

    Attributes:
        soft_expire: Where not given, one and a half times its schedule's interval.
        period: ``"hour" "day" "week" "month"``.
        tz: Zone in which days, weeks and months begin; the project's ``TIME_ZONE`` where not given.
        rollup: How several periods make one longer one: ``"last"``, ``"sum"``, ``"mean"``. Where not given, the type's;
            else ``"sum"`` of what answers for the past, ``"last"`` of what does not.
        type, properties: A ``MetricType`` and what it needs to be told.
        fills: How many missed periods back a collection fills in by itself.
    """

    period: str = "day"
    tz: str | None = None
    rollup: Literal["", "last", "sum", "mean", "min", "max"] = ""
    type: Any = None
    properties: Mapping[str, Any] = {}
    fills: int = 400

    schedule = every(hours=1)
    _spares = ("span",)
    # What commits with its value is the record of its period.
    keep_history = True
    # Of those that are stored as rows: that each key is what its row says, and whether that says it is not collected.
    stored_as_rows = False
    is_paused = False

    def __init__(self) -> None:
        super().__init__()
        if self.period not in UNITS:
            raise DeclarationError(f"period is one of {', '.join(UNITS)}, not {self.period!r}.")
        if self.rollup not in ("", *ROLLUPS):
            raise DeclarationError(f"rollup is one of {', '.join(ROLLUPS)}, not {self.rollup!r}.")
        if not is_whole(self.fills, 0, 100_000):
            raise DeclarationError(f"fills is a number of periods, not {self.fills!r}.")
        apart = self.schedule.period() if self.schedule is not None else None
        if apart is not None and not self._says("soft_expire"):
            self.soft_expire = apart * 3 / 2  # one that was not collected in time is seen to be old
        self.windows = Window(self.period, self.tz)
        self._measures = _takes_span(self.__class__.compute)
        self._own = self.__class__.compute is not Metric.compute
        if self._own and self.type is not None:
            raise DeclarationError("give either a type, which measures, or compute, not both.")

    def _says(self, name: str) -> bool:
        """Whether a subclass says something about an attribute."""
        own = self.__class__.__mro__[: self.__class__.__mro__.index(Metric)]
        return any(name in vars(base) for base in own)

    # -- what a declaration defines

    def compute(self, key: Key, span: Span) -> Any:  # type: ignore[override]
        """Return the number of a period: an int, a Decimal, a finite float, a timedelta (in seconds), None for none.

        One without ``span`` returns what is now, and cannot answer for the past. May be ``async def``.
        """
        found = self.kind
        if found is None:
            raise NotImplementedError(
                f"{self.__class__.__name__} defines neither compute(self, key, span) nor a type."
            )
        return found.call(span, self.told)

    # -- metrics that are stored as rows

    @staticmethod
    def create(type: Any, slug: str, **properties: Any) -> Any:
        """Store a metric as a row, ``metric/<slug>``, collected from the next run on.

        Args:
            type: A metric type: its name, or the class.
            properties: What the type needs, and what a row has of its own: ``label, description, section, unit,
                unit_plural, number_format, precision, good, goal, period, tz, rollup, paused``.

        Returns:
            The row, a ``kck_flow.models.ConfiguredMetric``.

        Raises:
            django.core.exceptions.ValidationError: the type or a property is unknown or wrong, or the slug is taken;
                nothing was stored.
        """
        return Metric.stored(type, slug, properties)

    # Filled in by those who know the tables.
    stored: ClassVar[Callable[[Any, str, Mapping[str, Any]], Any]]

    # -- what the rest of the package asks

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong in the declaration, as (what, what to do)."""
        if self.augments:
            yield (
                "an edge augments it",
                'Say then="stale" or "refresh": what it is folded into may be the number of a period that is over.',
            )
        if self._own or self.stored_as_rows:
            return
        found = self.kind
        if found is None:
            yield (
                f"type is {self.type!r}" if self.type is not None else "it has neither compute nor a type",
                "Define compute(self, key, span), or compute(self, key), or give a MetricType and its properties.",
            )
            return
        try:
            found.cleaned(self.properties)
        except (WrongProperties, DeclarationError) as error:
            yield str(error).rstrip("."), "Correct properties: those that its type declares."

    def key_called(self, name: str) -> Key | None:
        """Return the key of the metric of this family that people call ``name``; None where it has none."""
        return self.build_key() if name == self.name and not self.parameters else None

    @property
    def kind(self) -> MetricType | None:
        """The type that measures, or None."""
        if isinstance(self.type, MetricType):
            return self.type
        return self.type() if isinstance(self.type, type_) and issubclass(self.type, MetricType) else None

    def of(self, key: Key) -> Metric:
        """Return what a key is measured by: itself; of metrics that are stored as rows, what its row says.

        Raises:
            NotPrimed: there is no such row.
        """
        return self

    def of_many(self, keys: Sequence[Key]) -> dict[Key, Metric]:
        """Return what several keys are measured by; those whose row is gone are left out."""
        return dict.fromkeys(keys, self)

    def all_told(self) -> dict[Key, Metric]:
        """Return what the keys of its domain are measured by, in order."""
        return self.of_many(self.domain_keys())

    @cached_property
    def told(self) -> dict[str, Any]:
        """What its type is told: its properties, typed, defaults filled in. Raises WrongProperties."""
        found = self.kind
        return found.cleaned(self.properties) if found is not None else {}

    @cached_property
    def answers_for_the_past(self) -> bool:
        """Whether it can say what a period that is over was."""
        found = self.kind
        if not self._own and found is not None:
            return found.answers_for_the_past(**self.told)
        return self._measures

    @cached_property
    def rolled_up(self) -> str:
        """How several periods make one: ``"last"``, ``"sum"`` or ``"mean"``."""
        found, own = self.kind, ""
        if found is not None and not self._own:
            own = found.rolls_up_by(**self.told)
        return self.rollup or own or ("sum" if self.answers_for_the_past else "last")

    def span(self, at: datetime) -> Span:
        """Return the period that an instant is in."""
        start = self.windows.start_of(at)
        return Span(start, self.windows.after(start))

    def spans(self, start: datetime, end: datetime) -> Iterator[Span]:
        """Yield the periods that ``[start, end)`` touches, oldest first."""
        one = self.span(start)
        while one.start < end:
            yield one
            one = Span(one.end, self.windows.after(one.end))

    def product_of(self, key: Key, at: datetime) -> Any:
        one = self.of(key)
        measure: Callable[..., Any] = one.compute
        return measure(key, one.span(at)) if one._measures else measure(key)

    def storable(self, key: Key, value: Any) -> Any:
        """Return a number that was measured as it is stored. Raises UnstorableValue: it is none."""
        if isinstance(value, timedelta):
            return Decimal(value // timedelta(microseconds=1)) / 1_000_000
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if (isinstance(value, float) and isfinite(value)) or (
            isinstance(value, Decimal) and value.is_finite()
        ):
            return value
        raise UnstorableValue(
            f"{str(key)!r} is a metric, and was measured as {value!r}: return an int, a Decimal, a finite float, a "
            "timedelta, or None where there is no number."
        )


type_ = type  # Metric has an attribute of that name


@cache
def _takes_span(compute: Callable[..., Any]) -> bool:
    """Whether a metric's ``compute`` takes the period that it is to measure: by that name, or as what it requires."""
    taken = list(inspect.signature(compute).parameters.values())
    return any(one.name == "span" for one in taken) or (
        len(taken) > 2 and taken[2].default is inspect.Parameter.empty
    )


@cache
def _asks_for_span(measure: Callable[..., Any]) -> bool:
    """Whether a type's ``measure`` takes the period that it is to measure."""
    return "span" in inspect.signature(measure).parameters


def rolled(values: Sequence[Any], how: str) -> Any:
    """Return the one number that those of several periods make, oldest first; None of those where none was recorded.

    Sums and means of decimals and ints are exact (a mean has Decimal's 28 digits); floats stay floats.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    if len(known) == 1:
        return known[0]
    if how in ("last", "min", "max"):
        return known[-1] if how == "last" else min(known) if how == "min" else max(known)
    if how == "sum" and set(map(type, known)) == {int}:
        return sum(known)
    if any(isinstance(value, float) for value in known):
        try:
            total: Any = fsum(known)
            return total if how == "sum" else total / len(known)
        except OverflowError:  # an int that no float is as large as
            known = [Decimal(repr(value)) if isinstance(value, float) else value for value in known]
    if how == "sum" and all(isinstance(value, int) for value in known):
        return sum(known)
    with localcontext(prec=DIGITS):
        total = sum(known)
    return total if how == "sum" else Decimal(total) / len(known)
