"""Topics that count."""

from __future__ import annotations

from kck_flow import StringParameter, Topic


class Counts(Topic):
    """How many messages there were."""

    key_base = "bench_counts"
    topics = ["delays"]


class ByCarrier(Topic):
    """How many there were of each carrier in each hour."""

    key_base = "bench_by_carrier"
    parameters = [StringParameter("carrier")]
    topics = ["delays"]
    window = "1h"
