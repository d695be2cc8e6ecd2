"""The family of metrics that are stored as rows, and the types that every project has.

A project that stores none has no such family: it is registered when a key of it is first mentioned, or a row is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from . import measuring, spread
from .errors import DeclarationError, NotPrimed
from .key import Key
from .memo import Memo, Same
from .metric import Metric, MetricType
from .parameter import StringParameter
from .registry import registry
from .store import metrics
from .store.metrics import ConfiguredMetric
from .store.session import Session, caller


class Configured(Metric):
    """A metric that is stored as a row: by its slug."""

    key_base = "metric"
    parameters = [StringParameter("slug")]
    stored_as_rows = True

    def domain(self) -> list[str]:
        return [row.slug for row in metrics.rows(_alias()) if not row.paused]

    def of(self, key: Key) -> Metric:
        slug = key.params["slug"]
        row = metrics.row(_alias(), slug)
        if row is None:
            raise NotPrimed(
                f"No metric is stored under the slug {slug!r}. Add it in the admin, or by "
                f"Metric.create(type, {slug!r}, …)."
            )
        try:
            return _row(row)
        except (
            DeclarationError,
            ValueError,
        ) as error:  # what declared its type is gone, or takes something else now
            raise NotPrimed(f"{str(key)!r}: {error}") from None

    def of_many(self, keys: Sequence[Key]) -> dict[Key, Metric]:
        rows = {row.slug: row for row in metrics.rows(_alias())}
        found: dict[Key, Metric] = {}
        for key in keys:
            if key.params["slug"] in rows:
                with suppress(DeclarationError, ValueError):  # told where it is asked for alone
                    found[key] = _row(rows[key.params["slug"]])
        return found

    def all_told(self) -> dict[Key, Metric]:
        found: dict[Key, Metric] = {}
        for row in metrics.rows(_alias()):
            if not row.paused:
                key = self.build_key(slug=row.slug)
                try:
                    found[key] = _row(row)
                except (DeclarationError, ValueError):  # told where it is asked for alone
                    found[key] = self
        return found

    def key_called(self, name: str) -> Key | None:
        return self.build_key(slug=name) if metrics.row(_alias(), name) is not None else None


class Row(Metric):
    """A metric as its row says. It is asked by the family's keys, and is no family of its own."""

    def __init__(self, row: ConfiguredMetric, kind: type[MetricType], told: dict[str, Any]) -> None:
        self.period, self.tz, self.rollup = row.period, row.tz or None, row.rollup  # type: ignore[assignment]
        self.type, self.properties = kind, row.properties
        self.label, self.description, self.section = row.label or row.slug, row.description, row.section
        self.unit, self.unit_plural = row.unit, row.unit_plural
        form = row.number_format or kind.number_format or "number"
        self.number_format = form  # type: ignore[assignment]
        self.precision, self.good, self.goal = row.precision, row.good, row.goal  # type: ignore[assignment]
        self.is_paused = row.paused
        super().__init__()
        self.key_base_list = (Configured.key_base,)
        self.told = told


def _row(row: ConfiguredMetric) -> Row:
    kind = registry.metric_types.get(row.type)
    if kind is None:
        raise DeclarationError(registry.no_metric_type(row.type))
    return _made.get(row.slug, (Same(kind), Same(row)), lambda: Row(row, kind, kind.cleaned(row.properties)))


# For as long as its row says the same it is the same object, and so is what was made of it.
_made: Memo[Row] = Memo(1024)


def _alias() -> str:
    return spread.alias_of(registry.primers.get(Configured.key_base))


def _create(type_: Any, slug: str, given: Mapping[str, Any]) -> ConfiguredMetric:
    name = type_.known_as() if isinstance(type_, type) and issubclass(type_, MetricType) else str(type_)
    return metrics.create(_alias(), name, slug, given)


def seen(session: Session | None = None) -> bool:
    """Register the family where a metric is stored as a row; whether it is there now.

    Args:
        session: On the database to look at; the caller's where not given.
    """
    if Configured.key_base not in registry.primers and metrics.are_any(session or caller(_alias())):
        registry.demand(Configured.key_base)
    return Configured.key_base in registry.primers


def connect() -> None:
    """Make the family known, and the types."""
    Metric.stored = _create
    registry.on_demand[Configured.key_base] = Configured
    for one in measuring.ALL:
        registry.metric_types[one.known_as()] = one
