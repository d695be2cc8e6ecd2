"""A source that reads the lines of a file: one whose position is all that needs to be remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from kck_flow import Message, Source


class Lines(Source):
    """Each line is a message of the topic ``numbers``, as JSON."""

    ordered = True
    seekable = True

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.place = 0

    def open(self, position: Any = None) -> None:
        self.place = position or 0
        self.path.stat()

    def fetch(self, most: int, timeout: float) -> Sequence[Message]:
        lines = self.path.read_text().splitlines()[self.place : self.place + most]
        if not lines:
            time.sleep(timeout)
        self.place += len(lines)
        told = [json.loads(line) for line in lines]
        return [Message("numbers", one["body"], one["id"], datetime.fromisoformat(one["at"])) for one in told]

    def position(self) -> Any:
        return self.place

    def ack(self, batch: Sequence[Message]) -> None: ...
    def nack(self, batch: Sequence[Message], delay: timedelta = timedelta(0)) -> None: ...
