"""kck_flow: business numbers that are correct, fresh and instant, on the PostgreSQL a Django project already
has.

What you declare comes from here (``from kck_flow import Primer``); names that need the app registry load when
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# At once, and not when it is first asked for: its module has its name, and whoever imported that first would leave the
# module in its place.
from .progress import progress as progress

if TYPE_CHECKING:
    from .cache.facade import Cache as Cache
    from .dashboard import Dashboard as Dashboard
    from .dashboard import Panel as Panel
    from .dashboard import Section as Section
    from .decorators import cached as cached
    from .decorators import scheduled as scheduled
    from .decorators import updates as updates
    from .entry import Change as Change
    from .entry import Entry as Entry
    from .entry import Point as Point
    from .entry import Row as Row
    from .event_stream import EventStream as EventStream
    from .key import Key as Key
    from .message import Message as Message
    from .message import Source as Source
    from .message_stream import MessageStream as MessageStream
    from .metric import Metric as Metric
    from .metric import MetricType as MetricType
    from .metric import Span as Span
    from .model_stream import ModelStream as ModelStream
    from .parameter import BooleanParameter as BooleanParameter
    from .parameter import ChoiceParameter as ChoiceParameter
    from .parameter import DateParameter as DateParameter
    from .parameter import DateTimeParameter as DateTimeParameter
    from .parameter import DecimalParameter as DecimalParameter
    from .parameter import FloatParameter as FloatParameter
    from .parameter import IntegerParameter as IntegerParameter
    from .parameter import ModelParameter as ModelParameter
    from .parameter import Parameter as Parameter
    from .parameter import StringParameter as StringParameter
    from .parameter import UUIDParameter as UUIDParameter
    from .primer import On as On
    from .primer import Primer as Primer
    from .process import Process as Process
    from .schedule import cron as cron
    from .schedule import every as every
    from .schedule import rule as rule
    from .stock import Facet as Facet
    from .stock import Flow as Flow
    from .stock import Stock as Stock
    from .stream import Stream as Stream
    from .streams.log import send as send
    from .streams.log import send_many as send_many
    from .timeframe import TimeFrame as TimeFrame
    from .topic import Topic as Topic
    from .tracker import ModelTracker as ModelTracker

__version__ = "0.1.0"

_HOMES = {
    "Cache": "cache.facade",
    "cached": "decorators",
    "Dashboard": "dashboard",
    "Panel": "dashboard",
    "Section": "dashboard",
    "scheduled": "decorators",
    "updates": "decorators",
    "Change": "entry",
    "Entry": "entry",
    "Point": "entry",
    "Row": "entry",
    "Key": "key",
    "Parameter": "parameter",
    "StringParameter": "parameter",
    "IntegerParameter": "parameter",
    "FloatParameter": "parameter",
    "DecimalParameter": "parameter",
    "BooleanParameter": "parameter",
    "DateParameter": "parameter",
    "DateTimeParameter": "parameter",
    "UUIDParameter": "parameter",
    "ChoiceParameter": "parameter",
    "ModelParameter": "parameter",
    "Facet": "stock",
    "Flow": "stock",
    "Stock": "stock",
    "Message": "message",
    "Metric": "metric",
    "MetricType": "metric",
    "EventStream": "event_stream",
    "MessageStream": "message_stream",
    "ModelStream": "model_stream",
    "ModelTracker": "tracker",
    "Source": "message",
    "Span": "metric",
    "Stream": "stream",
    "TimeFrame": "timeframe",
    "Topic": "topic",
    "On": "primer",
    "Primer": "primer",
    "Process": "process",
    "cron": "schedule",
    "every": "schedule",
    "send": "streams.log",
    "send_many": "streams.log",
    "rule": "schedule",
}

__all__ = sorted([*_HOMES, "progress"])


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
