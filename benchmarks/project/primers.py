"""The products of the bench, for kck_flow."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from benchmarks.product import FRESH_SECONDS, cold_compute, note_line, product, stale_compute
from benchmarks.project.models import Order
from kck_flow import IntegerParameter, On, Primer, StringParameter


class Plain(Primer):
    """A product without declared sources."""

    key_base = "bench_plain"
    parameters = [IntegerParameter("number")]

    def compute(self, key: Any) -> Any:
        """Return the product of about one kilobyte."""
        return product(key.params["number"])


class Sourced(Plain):
    """The same product, with a declared source: each read looks whether something is pending."""

    key_base = "bench_sourced"
    depends_on = [On(Order, key="customer_id")]


class Cold(Primer):
    """A product that takes a fifth of a second (S5)."""

    key_base = "bench_cold"
    parameters = [StringParameter("trial")]

    def compute(self, key: Any) -> Any:
        """Sleep, and note one line."""
        return cold_compute(os.environ["BENCH_LOG"], key.params["trial"])


class Stale(Primer):
    """A product that soon wants a refresh (S6)."""

    key_base = "bench_stale"
    parameters = [StringParameter("trial")]
    soft_expire = timedelta(seconds=FRESH_SECONDS)
    jitter = 0

    def compute(self, key: Any) -> Any:
        """Sleep, and note one line."""
        return stale_compute(os.environ["BENCH_LOG"], key.params["trial"])


class Nothing(Primer):
    """A refresh that does nothing but note when it started (R1, R2)."""

    key_base = "bench_nothing"
    parameters = [IntegerParameter("number")]

    def compute(self, key: Any) -> Any:
        """Note one line: the number and the instant, of the machine's monotonic clock, in nanoseconds."""
        import time

        note_line(os.environ["BENCH_LOG"], f"{key.params['number']} {time.monotonic_ns()}")
        return 1
