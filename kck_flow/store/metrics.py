"""Metrics that are stored as rows: read, and added."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..key import Key
from ..memo import Memo
from ..models import ConfiguredMetric as ConfiguredMetric
from .session import Session, caller

# What a row has of its own; whatever else a metric is created with is a property of its type.
OWN = (
    "label", "description", "section", "unit", "unit_plural", "number_format", "precision", "good", "goal", "period",
    "tz", "rollup", "position", "paused",
)  # fmt: skip

# What `configured_metrics` tells, in its order.
_COLUMNS = (
    "id", "slug", "type", "properties", "label", "description", "section", "unit", "unit_plural", "number_format",
    "precision", "good", "goal", "period", "tz", "rollup", "position", "paused",
)  # fmt: skip
_known: Memo[ConfiguredMetric] = Memo(1024)


def rows(alias: str) -> list[ConfiguredMetric]:
    """Return all, in the order of their sections and positions: whoever reads them changes none. Of a row that has not
    changed, the same object.
    """
    found = caller(alias).rows("configured_metrics", where="")
    return [_known.get((alias, values[0]), (repr(values),), partial(_of, alias, values)) for values in found]


def _of(alias: str, values: Sequence[Any]) -> ConfiguredMetric:
    told = dict(zip(_COLUMNS, values, strict=True))
    told["properties"] = json.loads(told["properties"])
    made = ConfiguredMetric(**told)
    made._state.adding, made._state.db = False, alias
    return made


def are_any(session: Session) -> bool:
    """Whether there is one; of a database whose migrations have not been run yet, there is none."""
    if not session.run("SELECT to_regclass('kck_metric') IS NOT NULL")[0][0]:
        return False
    return bool(session.run("SELECT EXISTS (SELECT 1 FROM kck_metric)")[0][0])


def row(alias: str, slug: str) -> ConfiguredMetric | None:
    """Return one, or None; see ``rows``."""
    values = caller(alias).row("configured_metrics", {"slug": slug}, where="WHERE slug = %(slug)s")
    if values is None:
        return None
    return _known.get((alias, values[0]), (repr(values),), partial(_of, alias, values))


def remove(alias: str, slug: str, key: Key) -> int:
    """Take one away, with its records; returns how many of its periods had a number."""
    ConfiguredMetric._default_manager.using(alias).filter(slug=slug).delete()
    rows = caller(alias).run(
        "WITH gone AS (DELETE FROM kck_record WHERE digest = %s RETURNING start_at) "
        "SELECT count(DISTINCT start_at) FROM gone",
        [key.digest],
    )
    return int(rows[0][0])


def create(alias: str, type_name: str, slug: str, given: Mapping[str, Any]) -> ConfiguredMetric:
    """Add one. Raises ValidationError: something is wrong, and nothing was stored."""
    own = {name: value for name, value in given.items() if name in OWN}
    properties = {name: value for name, value in given.items() if name not in OWN}
    made = ConfiguredMetric(slug=slug, type=type_name, properties=properties, **own)
    made.save(using=alias)
    return made
