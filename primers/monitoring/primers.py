"""Reads, hits, misses, refreshes, time spent and saved: as metrics, and a dashboard of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kck_flow import Cache, Dashboard, Key, Metric, Panel, Section, Span


class _OfAll(Metric):
    """Abstract: a number of all families together, of those hours that begin in the period."""

    section = "The cache itself"

    def compute(self, key: Key, span: Span) -> Any:  # type: ignore[override]
        return self.number(span)

    def number(self, span: Span) -> Any:
        """Return the number of a period."""
        raise NotImplementedError

    def used(self, span: Span) -> dict[str, Any]:
        """Return how each family was used, its own metrics left out: they ask for all others."""
        found = Cache.get_instance().usage(span.start, span.end)
        return {name: one for name, one in found.items() if not name.startswith("kck_")}

    def summed(self, span: Span, *names: str) -> Any:
        """Return some numbers of all families, added up."""
        return sum(getattr(one, name) or 0 for one in self.used(span).values() for name in names)


class Reads(_OfAll):
    """How often products were read."""

    key_base, label, unit, unit_plural = "kck_reads", "Reads", "read", "reads"

    def number(self, span: Span) -> int:
        return int(self.summed(span, "reads"))


class HitRate(_OfAll):
    """The share of reads that were answered at once."""

    key_base, label, number_format, good, rollup = "kck_hit_rate", "Answered at once", "percent", "up", "mean"
    precision = 1

    def number(self, span: Span) -> Decimal | None:
        reads = self.summed(span, "reads")
        hits = self.summed(span, "fresh", "stale")
        return (Decimal(hits) / Decimal(reads)).quantize(Decimal("0.0001")) if reads else None


class Misses(_OfAll):
    """Reads that had to wait for a computation."""

    key_base, label, unit, unit_plural, good = "kck_misses", "Had to wait", "read", "reads", "down"

    def number(self, span: Span) -> int:
        return int(self.summed(span, "missed"))


class Refreshes(_OfAll):
    """Refreshes that ended well."""

    key_base, label, unit, unit_plural = "kck_refreshes", "Refreshes", "refresh", "refreshes"

    def number(self, span: Span) -> int:
        return int(self.summed(span, "done"))


class RefreshFailures(_OfAll):
    """Refreshes that failed."""

    key_base, label, unit, unit_plural, good = (
        "kck_failures",
        "Failed refreshes",
        "refresh",
        "refreshes",
        "down",
    )

    def number(self, span: Span) -> int:
        return int(self.summed(span, "broken"))


class Computing(_OfAll):
    """How long all refreshes took together."""

    key_base, label, number_format, good = "kck_computing", "Time spent computing", "duration", "down"

    def number(self, span: Span) -> float:
        return round(float(self.summed(span, "took")), 3)


class Saved(_OfAll):
    """How long the reads that were answered at once would have taken to compute, by the median of each family."""

    key_base, label, number_format, good = "kck_saved", "Time saved", "duration", "up"

    def number(self, span: Span) -> float:
        return round(float(self.summed(span, "saved")), 3)


class Itself(Dashboard):
    """What the cache knows of itself."""

    slug, label, permission = "kck", "The cache itself", "staff"
    panels = [
        Section("Reads", [Reads, HitRate, Misses, Saved]),
        Section("Refreshes", [Refreshes, RefreshFailures, Computing]),
        Section(
            "Over time",
            [Panel("kck_reads", "bars"), Panel("kck_hit_rate", "line"), Panel("kck_computing", "bars")],
        ),
    ]
