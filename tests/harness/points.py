"""The spawned process's end of the line: it says where it is, and waits to be let on.

In a function that a test spawns, in any of its threads:

    say("computing")            the test's process.wait_for("computing") returns
    value = wait("go")          until the test calls process.go("go", value)
    is_open("enough")           whether it has done so, without waiting
    stop_at("read")             both: say that we are there, wait to be let on

In a process that no test spawned these do nothing, so that a primer may contain them for good.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any

_spoken: int | None = None
_lock = threading.Lock()
_open: dict[str, Any] = {}
_opened = threading.Condition()


def open_lines(spoken: int, heard: int) -> None:
    """Take up the two pipes to the test."""
    global _spoken
    _spoken = spoken
    threading.Thread(target=_listen, args=(heard,), name="the test's word", daemon=True).start()


def _listen(heard: int) -> None:
    with os.fdopen(heard) as lines:
        for line in lines:
            name, value = json.loads(line)
            with _opened:
                _open[name] = value
                _opened.notify_all()
    os._exit(70)  # the test is gone


def report(kind: str, value: Any) -> None:
    """Write one message to the test."""
    if _spoken is None:
        return
    message = (json.dumps([kind, value], default=str) + "\n").encode()
    with _lock:
        while message:  # a long result does not fit the pipe at once
            message = message[os.write(_spoken, message) :]


def say(name: str, value: Any = None) -> None:
    """Tell the test that we are at `name`."""
    report("at", [name, value])


def wait(name: str) -> Any:
    """Wait until the test has opened the gate `name`; return what it passed with it. It stays open."""
    if _spoken is None:
        return None
    with _opened:
        _opened.wait_for(lambda: name in _open)
        return _open[name]


def is_open(name: str) -> bool:
    """Say whether the test has opened the gate `name`, without waiting."""
    with _opened:
        return name in _open


def stop_at(name: str, value: Any = None) -> Any:
    """Tell the test that we are at `name` and wait there until it opens the gate of that name."""
    say(name, value)
    return wait(name)
