"""The product that a fleet under test computes."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

from kck_flow import IntegerParameter, Key, Primer, StringParameter


class Probe(Primer):
    """Takes as many milliseconds as its key says and tells the process that it ran in; ``bad`` in its name raises."""

    key_base = "kck_probe"
    parameters = [StringParameter("name"), IntegerParameter("milliseconds")]
    backoff = timedelta(milliseconds=100)

    def compute(self, key: Key) -> Any:
        time.sleep(key.params["milliseconds"] / 1000)
        if "bad" in key.params["name"]:
            raise RuntimeError("this probe fails")
        return os.getpid()
