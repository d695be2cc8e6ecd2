"""What is counted of the bus. Each is a few lines, since ``primers.topics`` brings the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kck_flow import IntegerParameter, Message, Topic
from primers import topics

from bus.generating import LATENESS

EVERYTHING = ["build.*", "test.*", "ship.*"]


def topic_of(message: Message) -> str:
    return message.topic


class ByTopic(topics.CountBy):
    """How many messages of each topic, by minute and hour."""

    key_base = "by_topic"
    topics = EVERYTHING
    by = topic_of
    windows = ["1m", "1h"]
    lateness = LATENESS


class ByCategory(topics.CountBy):
    """How many messages of each category, by minute: one product for all of them."""

    key_base = "by_category"
    topics = EVERYTHING
    parameters = []
    by = "category"
    window = "1m"
    lateness = LATENESS


class ByUser(topics.CountBy):
    """How many messages of each user, by minute."""

    key_base = "by_user"
    topics = EVERYTHING
    by = "user"
    window = "1m"
    lateness = LATENESS


class ByPackage(topics.CountBy):
    """How many messages about each package, since the beginning; two consumers may share the work."""

    key_base = "by_package"
    topics = EVERYTHING
    by = "package.name"
    partitions = 2


class BuildSeconds(topics.SumBy):
    """How many seconds the finished builds of each package took, by hour."""

    key_base = "build_seconds"
    topics = ["build.done", "build.failed"]
    by = "package.name"
    of = "seconds"
    window = "hour"
    lateness = LATENESS


class Status(topics.LatestStatus):
    """What was said last of each package on each architecture: one product for the whole board."""

    key_base = "status"
    topics = EVERYTHING
    parameters = []
    category, constraint = "package.name", "package.arch"


class Failures(topics.EventLog):
    """What has failed within the last two weeks."""

    key_base = "failures"
    topics = ["*.failed"]
    window = "1m"
    retention = timedelta(days=14)

    def kept(self, message: Message) -> Any:
        return message.body["package"]


class Longest(Topic):
    """The longest build so far of each number of minutes: a topic of one's own is as short."""

    key_base = "longest"
    topics = ["build.done"]
    parameters = [IntegerParameter("minutes")]

    def keys(self, message: Message) -> Any:
        return {"minutes": message.body["seconds"] // 60}

    def process(self, state: Any, message: Message) -> Any:
        return max(state, message.body["seconds"])
