"""What this package declares itself: the metrics that are stored as rows, and the types that every project has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import measuring, spread
from .errors import NotPrimed
from .key import Key
from .metric import Metric, MetricType
from .parameter import StringParameter
from .registry import registry
from .store import metrics
from .store.metrics import ConfiguredMetric


class Configured(Metric):
    """A metric that is stored as a row: by its slug."""

    key_base = "metric"
    parameters = [StringParameter("slug")]
    stored_as_rows = True

    def domain(self) -> list[str]:
        return [row.slug for row in metrics.rows(_alias()) if not row.paused]

    def is_idle(self) -> bool:
        return not metrics.are_any(_alias())

    def of(self, key: Key) -> Metric:
        slug = key.params["slug"]
        row = metrics.row(_alias(), slug)
        if row is None:
            raise NotPrimed(
                f"No metric is stored under the slug {slug!r}. Add it in the admin, or by "
                f"Metric.create(type, {slug!r}, …)."
            )
        found = _row(row)
        if found is None:  # what declared its type is gone
            raise NotPrimed(f"{str(key)!r}: {registry.no_metric_type(row.type)}")
        return found

    def of_many(self, keys: Sequence[Key]) -> dict[Key, Metric]:
        rows = {row.slug: row for row in metrics.rows(_alias())}
        found = {key: _row(rows[key.params["slug"]]) for key in keys if key.params["slug"] in rows}
        return {key: one for key, one in found.items() if one is not None}

    def key_called(self, name: str) -> Key | None:
        return self.build_key(slug=name) if metrics.row(_alias(), name) is not None else None


class Row(Metric):
    """A metric as its row says. It is asked by the family's keys, and is no family of its own."""

    def __init__(self, row: ConfiguredMetric, kind: type[MetricType]) -> None:
        self.period, self.tz, self.rollup = row.period, row.tz or None, row.rollup  # type: ignore[assignment]
        self.type, self.properties = kind, row.properties
        self.label, self.description, self.section = row.label or row.slug, row.description, row.section
        self.unit, self.unit_plural = row.unit, row.unit_plural
        told = row.number_format or kind.number_format or "number"
        self.number_format = told  # type: ignore[assignment]
        self.precision, self.good, self.goal = row.precision, row.good, row.goal  # type: ignore[assignment]
        self.is_paused = row.paused
        super().__init__()
        self.key_base_list = (Configured.key_base,)


def _row(row: ConfiguredMetric) -> Row | None:
    kind = registry.metric_types.get(row.type)
    return Row(row, kind) if kind is not None else None


def _alias() -> str:
    return spread.alias_of(registry.primers.get(Configured.key_base))


def _create(type_: Any, slug: str, given: Mapping[str, Any]) -> ConfiguredMetric:
    name = type_.known_as() if isinstance(type_, type) and issubclass(type_, MetricType) else str(type_)
    return metrics.create(_alias(), name, slug, given)


Metric.stored = _create

for one in measuring.ALL:
    registry.metric_types[one.known_as()] = one
