"""What a product of the stage does when it is computed: its script, step by step, told in a ledger that all
share.

The stage is a folder (KCK_TEST_STAGE). A script is a file of it: `<key>.json`, or `<key>.<n>.json` for the
n-th compute of that key alone. A gate is a file that a compute waits for. The ledger has a line for every
begin, stop and end.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db import connection

from tests.harness.ledger import note


def stage() -> Path:
    """Return the folder of the stage."""
    return Path(os.environ["KCK_TEST_STAGE"])


def tell(kind: str, key: str, number: int, more: str = "") -> None:
    """Append a line to the ledger."""
    note(stage() / "ledger", json.dumps([kind, key, number, os.getpid(), time.time(), more]))


def script_of(key: str, number: int) -> list[Any]:
    """Return the steps of the n-th compute of a key."""
    for name in (
        f"{quote(key, safe='')}.{number}.json",
        f"{quote(key, safe='')}.json",
        f"{quote(key.split('/')[0], safe='')}.json",
    ):
        try:
            return list(json.loads((stage() / name).read_text()))
        except FileNotFoundError:
            continue
    return []


def begin(key: str) -> int:
    """Tell the ledger that a compute begins; return which one of this key it is."""
    mark = uuid.uuid4().hex
    note(stage() / "ledger", json.dumps(["begin", key, 0, os.getpid(), time.time(), mark]))
    number = 0
    for line in (stage() / "ledger").read_text().splitlines():
        row = json.loads(line)
        if row[0] == "begin" and row[1] == key:
            number += 1
            if row[5] == mark:
                return number
    raise AssertionError(f"{mark} is not in the ledger")


def play(key: str) -> Any:
    """Carry out a script; return what it says, by default `<key>#<n>`."""
    from kck_flow import Cache

    number = begin(key)
    value: Any = f"{key}#{number}"
    for step, *given in script_of(key, number):
        if step == "hold":
            tell("at", key, number, given[0])
            while not (stage() / given[0]).exists():
                time.sleep(0.005)
        elif step == "sleep":
            time.sleep(given[0])
        elif step == "value":
            value = given[0]
        elif step == "fail":
            tell("end", key, number, "fail")
            raise ValueError(given[0])
        elif step == "exit":
            os._exit(given[0])
        elif step == "sys.exit":
            raise SystemExit(given[0])
        elif step == "cancel":
            raise asyncio.CancelledError
        elif step == "unstorable":
            value = object()
        elif step == "get":
            value = Cache.get_instance().get(given[0])
        elif step == "sql":
            with connection.cursor() as cursor:
                cursor.execute(given[0])
                value = cursor.fetchone()[0] if cursor.description else value
        elif step == "leak":
            _leaked.append(bytearray(os.urandom(1024)) * (int(given[0]) // 1024))
        else:
            raise AssertionError(f"no such step: {step}")
    tell("end", key, number, "done")
    return value


_leaked: list[bytearray] = []
