"""Metrics to begin with: what every project with Django's own apps has, and made-up ones to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist

from .. import clock, spread
from ..cache.facade import Cache
from ..key import Key
from ..metric import Metric
from ..registry import registry
from ..store import metrics
from . import collecting


@dataclass(frozen=True, slots=True)
class Seeded:
    """What came of one metric: ``added``, ``there`` (nothing of it was changed), ``filled`` or ``removed``; and of how
    many periods.
    """

    slug: str
    outcome: str
    periods: int = 0


# What is made up: a name, a section, and what its type is told.
FAKE: Mapping[str, Mapping[str, Any]] = {
    "fake_visits": {"label": "Visits", "good": "up", "level": 1200, "growth": 0.4, "weekly": 0.35},
    "fake_sign_ups": {"label": "Sign-ups", "good": "up", "level": 40, "growth": 0.5, "weekly": 0.3},
    "fake_refunds": {"label": "Refunds", "good": "down", "level": 9, "growth": 0.1, "weekly": 0.2},
    "fake_uptime": {
        "label": "Uptime", "good": "up", "number_format": "percent", "rollup": "mean", "level": 0.995, "growth": 0,
        "weekly": 0, "spread": 0.003, "whole": False,
    },
}  # fmt: skip


def ready_made() -> dict[str, dict[str, Any]]:
    """Return the metrics that Django's own apps allow: slug to what the row is made of."""
    found: dict[str, dict[str, Any]] = {}
    if apps.is_installed("django.contrib.auth"):
        users = get_user_model()._meta
        common = {"model": users.label, "section": "Users", "unit": "user", "unit_plural": "users"}
        found["users"] = {"type": "count_rows", "label": "Users", "good": "up", **common}
        if _has(users, "is_staff"):
            found["staff"] = {"type": "count_rows", "label": "Staff", "filter": {"is_staff": True}, **common}
        if _has(users, "date_joined"):
            found["new_users"] = {
                "type": "count_rows", "label": "New users", "at": "date_joined", "good": "up", **common,
            }  # fmt: skip
    if apps.is_installed("django.contrib.admin"):
        found["admin_actions"] = {
            "type": "count_rows", "label": "Changes in the admin", "model": "admin.LogEntry", "at": "action_time",
            "section": "Administration", "unit": "change", "unit_plural": "changes",
        }  # fmt: skip
    return found


def seed() -> Iterator[Seeded]:
    """Add the ready-made metrics that are not there; those that are, are left as they are.

    Yields:
        What came of each.
    """
    yield from _add(ready_made())


def fake(days: int, seed: int = 1) -> Iterator[Seeded]:
    """Add made-up metrics, and give each a number for each of the last days. The same seed makes the same numbers.

    Raises:
        RuntimeError: this is production (``DEBUG`` is off).
    """
    if not settings.DEBUG:
        raise RuntimeError(
            "Made-up numbers are refused where DEBUG is off: nobody should take them for real ones."
        )
    made = {
        slug: {"type": "fake", "section": "Made up", "seed": seed, **given} for slug, given in FAKE.items()
    }
    yield from _add(made)
    now = clock.now()
    for slug in FAKE:
        key, metric = _metric(slug)
        filled = collecting.fill(key, metric, now - timedelta(days=days), now)
        Cache.get_instance().refresh(key)
        yield Seeded(slug, "filled", filled.filled)


def remove_fake() -> Iterator[Seeded]:
    """Take the made-up metrics away, with all their numbers."""
    alias = _alias()
    for row in metrics.rows(alias):
        if row.type == "fake":
            key = registry.primer("metric").build_key(slug=row.slug)
            periods = metrics.remove(alias, row.slug, key)
            Cache.get_instance().unset(key, hooks=False)
            yield Seeded(row.slug, "removed", periods)


def _add(made: Mapping[str, Mapping[str, Any]]) -> Iterator[Seeded]:
    there = {row.slug for row in metrics.rows(_alias())}
    for slug, given in made.items():
        if slug in there:
            yield Seeded(slug, "there")
            continue
        Metric.create(given["type"], slug, **{name: value for name, value in given.items() if name != "type"})
        yield Seeded(slug, "added")


def _metric(slug: str) -> tuple[Key, Metric]:
    family = registry.primer("metric")
    assert isinstance(family, Metric)
    key = family.build_key(slug=slug)
    return key, family.of(key)


def _alias() -> str:
    return spread.alias_of(registry.primers.get("metric"))


def _has(options: Any, name: str) -> bool:
    try:
        options.get_field(name)
    except FieldDoesNotExist:
        return False
    return True
