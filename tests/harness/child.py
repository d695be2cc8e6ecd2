"""What a process spawned by `processes.Crew` runs: one function, with Django set up."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback

from tests.harness import points


def main(target: str, arguments: str, spoken: int, heard: int) -> int:
    """Run `module:function` with the JSON arguments; report its result or error; return the exit code."""
    points.open_lines(spoken, heard)
    try:
        import django
        from django.db import connections

        django.setup()
        module, _, name = target.partition(":")
        function = getattr(importlib.import_module(module), name)
        args, kwargs = json.loads(arguments)
        result = function(*args, **kwargs)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        connections.close_all()
        points.report("result", json.loads(json.dumps(result, default=str)))
    except BaseException as error:
        points.report(
            "error", {"type": type(error).__name__, "text": str(error), "trace": traceback.format_exc()}
        )
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a compute that still runs in a thread of its own must not hold the test up
