"""What was sent, added up in plain Python from the generator's own messages; beside it, what the products hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kck_flow import Cache, Message
from kck_flow.models import DataProduct

from bus.models import Run

FINISHED = {"build.done", "build.failed"}


@dataclass(frozen=True)
class Compared:
    """One primer: what its products come to together, as sent and as counted, and the keys that differ."""

    key_base: str
    sent: int
    counted: int
    products: int
    wrong: list[str]


def audit(run: Run) -> Iterator[Compared]:
    """Compare every product there is with what the run's messages come to."""
    cache = Cache.get_instance()
    for key_base, wanted in expected(run.traffic.messages(range(run.sent))).items():
        there = DataProduct.objects.filter(key_base=key_base).exclude(state="unset")
        held = {key: cache.get(key) for key in there.values_list("key", flat=True)}
        keys = sorted(wanted.keys() | held.keys())
        wrong = [key for key in keys if wanted.get(key) != held.get(key)]
        yield Compared(key_base, together(wanted.values()), together(held.values()), len(keys), wrong)


def expected(messages: Iterable[Message]) -> dict[str, dict[str, Any]]:
    """Return what the products of each primer are, by key, where each message counts once."""
    build_key = Cache.get_instance().build_key
    found: dict[str, dict[str, Any]] = {}

    def products(key_base: str, initial: Any, **params: Any) -> tuple[dict[str, Any], str]:
        """Return the products of a primer, and which one is meant; it is there from now on."""
        key = str(build_key(key_base, **params))
        family = found.setdefault(key_base, {})
        family.setdefault(key, initial)
        return family, key

    def add(key_base: str, number: int = 1, **params: Any) -> None:
        family, key = products(key_base, 0, **params)
        family[key] += number

    # In the order in which it happened: the latest and the log need no further thought.
    for message in sorted(messages, key=lambda one: (happened_at(one), one.id)):
        at, body = happened_at(message), message.body
        minute = at.replace(second=0, microsecond=0)
        hour = minute.replace(minute=0)
        package, arch = body["package"]["name"], body["package"]["arch"]
        told = {"at": at, "id": message.id}
        add("by_topic", value=message.topic, size="1m", window=minute)
        add("by_topic", value=message.topic, size="1h", window=hour)
        add("by_user", value=body["user"], window=minute)
        add("by_package", value=package)
        family, key = products("by_category", {}, window=minute)
        family[key][body["category"]] = family[key].get(body["category"], 0) + 1
        family, key = products("status", {})
        family[key].setdefault(package, {})[arch] = {**told, "status": body["status"]}
        if message.topic in FINISHED:
            add("build_seconds", body["seconds"], value=package, window=hour)
        if message.topic == "build.done":
            family, key = products("longest", 0, minutes=body["seconds"] // 60)
            family[key] = max(family[key], body["seconds"])
        if body["status"] == "failed":
            family, key = products("failures", [], window=minute)
            family[key].append({**told, "topic": message.topic, "body": body["package"]})
    return found


def happened_at(message: Message) -> datetime:
    assert message.at is not None
    return message.at


def together(values: Iterable[Any]) -> int:
    """Return the sum of numbers; of dicts and lists, how many numbers and things are in them."""
    return sum(total(value) for value in values)


def total(value: Any) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, dict):
        return 1 if "id" in value else together(value.values())
    return len(value)
