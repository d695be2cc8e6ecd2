"""How a worker's log reads: ``event name=value …`` for people at a terminal, a JSON object a line elsewhere.

Only where the project configures no logger ``kck_flow`` of its own.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TextIO

_PAIR = re.compile(r"(\w+)=('[^']*'|\"[^\"]*\"|\S+)")
_EVENT = re.compile(r"^([a-z]+(?:\.[a-z_]+)+)\b\s*")


class Readable(logging.Formatter):
    """``10:05:00.123 INFO refresh.done key=… run_ms=12``."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        shown = f"{at}.{int(record.msecs):03d} {record.levelname:7} {record.getMessage()}"
        return f"{shown}\n{self.formatException(record.exc_info)}" if record.exc_info else shown


class Structured(logging.Formatter):
    """One JSON object a line: ``at, level, event``, the message's pairs as fields, ``text`` and ``trace``."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        found = _EVENT.match(message)
        fields: dict[str, object] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": found[1] if found else record.name,
        }
        fields.update(
            (name, value.strip("'\"")) for name, value in _PAIR.findall(message) if name not in fields
        )
        fields["text"] = message
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def configure(stream: TextIO, *, level: int = logging.INFO) -> bool:
    """Send the package's log to ``stream``, unless the project has said where it goes; returns whether it was done."""
    logger = logging.getLogger("kck_flow")
    if logger.handlers or (logger.level != logging.NOTSET and not logger.propagate):
        return False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Readable() if stream.isatty() else Structured())
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return True
