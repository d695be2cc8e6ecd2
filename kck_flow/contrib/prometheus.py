"""What goes on, as Prometheus asks for it: products by state and age, refreshes, workers, streams; and on request, what
products are worth.

``pip install "kck-flow[prometheus]"`` and ``path("metrics", kck_flow.contrib.prometheus.metrics)``; or, where a project
has a registry of its own (django-prometheus), ``REGISTRY.register(Collector())``. All of it is read from the database
as it is asked for, so that each process says the same, however many there are. Names and units are as in
https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import Error as DatabaseErrors
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.registry import Collector as Base

from ..cache.listed import known_families
from ..conf import conf
from ..dashboards import faces, reading, visitors
from ..dashboards.views import refusal
from ..errors import KckFlowError
from ..key import Key
from ..permission import VIEW, allows
from ..registry import registry
from ..store import frames, listings, refreshes, workers
from ..store.session import Session, caller
from ..streams import topics

logger = logging.getLogger("kck_flow")


class Collector(Base):
    """Collects what goes on, and the values of some products.

    Args:
        values: Keys, or key bases of families with a domain, whose numbers are told; ``KCK_FLOW["PROMETHEUS_VALUES"]``
            where not given. None are told by themselves: whoever scrapes need not be who may see them.
    """

    def __init__(self, values: Iterable[str] | None = None) -> None:
        self.values = values

    def describe(self) -> list[Any]:
        """Nothing is asked of the database because somebody registers this."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        up = Gauge("kck_up", "Whether a database answers.", labels=["database"])
        operations = _Operations()
        for alias in conf.DATABASES:
            try:
                operations.add(caller(alias))
                up.add_metric([alias], 1)
            except DatabaseErrors as error:  # the other databases are told of all the same
                logger.warning("prometheus.unreachable database=%s error=%r", alias, error)
                up.add_metric([alias], 0)
        yield up
        yield from operations.all
        yield from _values(conf.PROMETHEUS_VALUES if self.values is None else self.values)


class _Operations:
    """The gauges of what goes on, filled database by database."""

    def __init__(self) -> None:
        self.products = Gauge(
            "kck_products",
            "Stored products in each state; of more than 20,000, as a sample tells.",
            labels=["database", "family", "state"],
        )
        self.oldest = Gauge(
            "kck_oldest_product_age_seconds",
            "How long ago the oldest product of a family was computed.",
            labels=["database", "family", "state"],
        )
        self.failing = Gauge(
            "kck_failing_products", "Products whose last refresh failed.", labels=["database", "family"]
        )
        self.parked = Gauge(
            "kck_parked_products",
            "Products that are not tried again by themselves.",
            labels=["database", "family"],
        )
        self.took = Gauge(
            "kck_refresh_duration_seconds",
            "The mean of how long the products of a family took last.",
            labels=["database", "family"],
        )
        self.queue = Gauge(
            "kck_refreshes",
            "Refreshes of each lane: due, running, parked, failing.",
            labels=["database", "lane", "state"],
        )
        self.overdue = Gauge(
            "kck_refresh_overdue_seconds",
            "How long the oldest refresh of a lane has been due.",
            labels=["database", "lane"],
        )
        self.workers = Gauge("kck_workers", "Workers that were seen of late.", labels=["database"])
        self.changes = Gauge(
            "kck_pending_changes", "Changes that no product has taken up yet.", labels=["database"]
        )
        self.frames = Gauge(
            "kck_frames", "Time frames in each state.", labels=["database", "family", "state"]
        )
        self.behind = Gauge(
            "kck_topic_pending_messages",
            "Messages that a topic has not handled, counted up to 10,000.",
            labels=["database", "topic"],
        )
        self.late = Gauge(
            "kck_topic_lag_seconds",
            "How long ago a topic had handled all that had come.",
            labels=["database", "topic"],
        )
        self.aside = Gauge(
            "kck_topic_parked_messages", "Messages whose handler failed.", labels=["database", "topic"]
        )

    @property
    def all(self) -> list[Any]:
        """All of them."""
        return list(vars(self).values())

    def add(self, session: Session) -> None:
        """Add what goes on in a database."""
        alias = session.alias
        rows = listings.estimated(session, "kck_product")
        for family, state, count, age in listings.family_states(session, known_families(), rows):
            self.products.add_metric([alias, family, state], count)
            if age is not None:
                self.oldest.add_metric([alias, family, state], max(age, 0.0))
        for family, failing, parked, seconds in refreshes.by_family(session):
            self.failing.add_metric([alias, family], failing)
            self.parked.add_metric([alias, family], parked)
            if seconds is not None:
                self.took.add_metric([alias, family], seconds)
        for lane, _slots, due, running, parked, failing, overdue in refreshes.counts(session):
            told = {"due": due, "running": running, "parked": parked, "failing": failing}
            for state, count in told.items():
                self.queue.add_metric([alias, str(lane), state], count)
            self.overdue.add_metric([alias, str(lane)], max(overdue or 0.0, 0.0))
        self.workers.add_metric([alias], workers.living(session, conf.WORKER_SEEN_SECONDS))
        totals = listings.totals(session)
        self.changes.add_metric([alias], totals["marks"] + totals["changes"])
        for family, planned, parked, closed, skipped, _until in frames.states(session):
            told = {"planned": planned, "parked": parked, "closed": closed, "skipped": skipped}
            for state, count in told.items():
                self.frames.add_metric([alias, family, state], count)
        for topic in topics.topics(alias=alias):
            lag = topics.lag(topic)
            self.behind.add_metric([alias, lag.topic], lag.messages)
            self.aside.add_metric([alias, lag.topic], lag.parked)
            if lag.seconds is not None:
                self.late.add_metric([alias, lag.topic], lag.seconds)


def _values(named: Iterable[str]) -> Iterator[Any]:
    """Yield the numbers of products, as they are stored: nothing is computed for a scrape."""
    keys = list(dict.fromkeys(key for text in named for key in _keys(text)))
    if not keys:
        return
    value = Gauge("kck_value", "The number that a product is.", labels=["key"])
    age = Gauge("kck_value_age_seconds", "How long ago it was computed.", labels=["key"])
    state = Gauge("kck_value_state", "1 for the state that it is in.", labels=["key", "state"])
    for key, shown in reading.read(keys, want=False).items():
        state.add_metric([str(key), shown.state], 1)
        if shown.number is not None:  # what is missing is no 0
            value.add_metric([str(key)], float(shown.number))
            if shown.age is not None:
                age.add_metric([str(key)], shown.age)
    yield from (value, age, state)


def _keys(text: str) -> list[Key]:
    primer = registry.primers.get(text)
    try:
        if primer is not None and not all(one.has_default for one in primer.parameters):
            return list(primer.domain_keys())
        return [registry.key(text)]
    except (KckFlowError, ValueError) as error:  # the others are told all the same
        logger.warning("prometheus.unreadable key=%s error=%r", text, error)
        return []


def metrics(request: HttpRequest) -> HttpResponseBase:
    """Answer a scrape: for whom the project's ``PERMISSION`` lets see, by session or by a token (``API_AUTH``)."""

    def answer() -> HttpResponseBase:
        faces.refuse_method(request, ("GET", "HEAD", "OPTIONS"))
        user = visitors.user_of(request)
        if not allows(None, user, VIEW, "metrics"):
            raise refusal(user, "the metrics")
        own = CollectorRegistry()
        own.register(Collector())
        response = HttpResponse(generate_latest(own), content_type=CONTENT_TYPE_LATEST)
        response.headers["Cache-Control"] = "no-store"
        return response

    return faces.guarded(request, answer, faces.problem_details, ("GET", "HEAD", "OPTIONS"))
