"""The topics that processes of their own handle."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from kck_flow import IntegerParameter, Message, StringParameter, Topic
from tests.shop.models import Author


class Sums(Topic):
    """What was sent, by minute and hour."""

    key_base = "sums"
    topics = ["numbers"]
    windows = ["1m", "1h"]
    lateness = timedelta(minutes=5)
    batch = 40

    def process(self, state: Any, message: Message) -> Any:
        return state + message.body["n"]


class Orders(Topic):
    """For each key, what came for it, in its order."""

    key_base = "in_order"
    topics = ["numbers"]
    parameters = [IntegerParameter("k")]
    partitions = 4
    batch = 25

    def initial(self) -> Any:
        return {"last": -1, "count": 0, "sum": 0, "wrong": 0}

    def process(self, state: Any, message: Message) -> Any:
        n = message.body["n"]
        state["wrong"] += n <= state["last"]
        return {"last": n, "count": state["count"] + 1, "sum": state["sum"] + n, "wrong": state["wrong"]}


class Rows(Topic):
    """A row for each message, written by its handler."""

    key_base = "rows_written"
    topics = ["numbers"]
    batch = 30

    def process(self, state: Any, message: Message) -> Any:
        Author.objects.create(name=message.id)
        return state + 1


class Slow(Topic):
    """What takes long to find out."""

    key_base = "slowly"
    topics = ["lookups"]
    parameters = [StringParameter("name")]
    backoff = timedelta(0)

    def enrich(self, message: Message) -> Any:
        time.sleep(0.02)
        return {"name": f"n{message.body % 3}"}

    def keys(self, message: Message) -> Any:
        return message.enriched
