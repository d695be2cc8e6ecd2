"""Functions in processes of their own, stopped at named points, paused, killed and collected.

    def compute_slowly(key):                                # in a test module; runs in the child
        stop_at("computing")
        return Cache.get_instance().get(key)

    def test_...(crew):
        first = crew.spawn(compute_slowly, "title_list/7")
        first.wait_for("computing")                         # the overlap is made, not hoped for
        second = crew.spawn(compute_slowly, "title_list/7")
        first.kill()
        second.go("computing")
        assert second.result() == ...

Nothing here sleeps: the test waits on pipes, with a limit, and a child that ends early ends the wait.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import connections

from tests.harness.daemons import LIMIT, ROOT, Daemon, Ended


class ChildFailed(AssertionError):
    """The function raised in its process.

    Attributes:
        type: The error's class name.
        text: Its message.
    """

    def __init__(self, said: Mapping[str, str], child: Child) -> None:
        self.type, self.text = said["type"], said["text"]
        super().__init__(f"{child} raised {self.type}: {self.text}\n\n{said['trace']}\n{child.output}")


class Child(Daemon):
    """A function that runs in a process of its own."""

    def __init__(
        self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any], env: Mapping[str, str]
    ) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        try:
            super().__init__(
                [
                    *(sys.executable, "-m", "tests.harness.child", target, json.dumps([args, kwargs])),
                    *(str(theirs_out), str(theirs_in)),
                ],
                env=env,
                cwd=ROOT,
                pass_fds=(theirs_out, theirs_in),
            )
        finally:
            os.close(theirs_out)
            os.close(theirs_in)
        self.target = target
        self._gates = ours_out
        self._at: defaultdict[str, deque[Any]] = defaultdict(deque)
        self._outcome: tuple[str, Any] | None = None
        self._told = threading.Condition()
        self._over = False
        threading.Thread(target=self._follow, args=(ours_in,), daemon=True).start()

    def _follow(self, fd: int) -> None:
        with os.fdopen(fd) as messages:
            for line in messages:
                kind, value = json.loads(line)
                with self._told:
                    if kind == "at":
                        self._at[value[0]].append(value[1])
                    else:
                        self._outcome = kind, value
                    self._told.notify_all()
        with self._told:
            self._over = True
            self._told.notify_all()

    def wait_for(self, point: str, *, limit: float = LIMIT) -> Any:  # type: ignore[override]
        """Wait until the function says that it is at `point`, once for each time; return what it said.

        Raises:
            ChildFailed: It raised instead.
            Ended: It ended instead.
            AssertionError: It did not come there within `limit` seconds.
        """
        self._await(lambda: bool(self._at[point]) or self._done, f"come to {point!r}", limit)
        if self._at[point]:
            return self._at[point].popleft()
        if self._outcome and self._outcome[0] == "error":
            raise ChildFailed(self._outcome[1], self)
        raise Ended(f"{self} ended and never came to {point!r}. It said:\n{self.output}")

    def is_at(self, point: str) -> bool:
        """Say whether it has said that it is at `point`, without waiting and without counting it as read."""
        with self._told:
            return bool(self._at[point])

    def go(self, gate: str, value: Any = None) -> None:
        """Open a gate, for all of its threads and for good; `value` is what their `wait(gate)` returns."""
        os.write(self._gates, (json.dumps([gate, value]) + "\n").encode())

    def result(self, *, limit: float = LIMIT) -> Any:
        """Wait for the function's end; return its result, as JSON carries it.

        Raises:
            ChildFailed: It raised.
            Ended: It was killed.
        """
        self._await(lambda: self._done, "return", limit)
        if self._outcome is None:
            raise Ended(f"{self} ended without a result, with code {self.wait()}. It said:\n{self.output}")
        self.wait(limit=limit)
        kind, value = self._outcome
        if kind == "error":
            raise ChildFailed(value, self)
        return value

    @property
    def _done(self) -> bool:
        return self._outcome is not None or self._over

    def _await(self, condition: Callable[[], bool], what: str, limit: float) -> None:
        deadline = time.monotonic() + limit
        with self._told:
            if not self._told.wait_for(condition, max(0.0, deadline - time.monotonic())):
                raise AssertionError(f"{self} did not {what} in {limit:g} s. It said:\n{self.output}")

    def close(self) -> None:
        """End it, whatever it is doing."""
        super().close()
        if self._gates >= 0:
            os.close(self._gates)
            self._gates = -1

    def __str__(self) -> str:
        return f"Process {self.pid} ({self.target})"


class Crew:
    """The processes of one test; whoever is left at its end is killed.

    Args:
        database_url: Where they find their database: the test's own by default.
        env: Further environment variables for all of them.
    """

    def __init__(self, database_url: str | None = None, env: Mapping[str, str] | None = None) -> None:
        self.env = {
            **(env or {}),
            "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "tests.settings"),
            "DATABASE_URL": database_url or database_url_of("default"),
            "PYTHONUNBUFFERED": "1",
        }
        self._members: list[Daemon] = []

    def spawn(
        self, function: Callable[..., Any], *args: Any, env: Mapping[str, str] | None = None, **kwargs: Any
    ) -> Child:
        """Start `function(*args, **kwargs)` in a process of its own; a coroutine function is run to its end.

        Args:
            function: One at the top level of a module; its arguments and result travel as JSON.
            env: Environment variables for this process, over the crew's.
        """
        target = f"{function.__module__}:{function.__qualname__}"
        if "<" in target:
            raise ValueError(
                f"{target} is not at the top level of its module, so another process cannot find it"
            )
        child = Child(target, args, kwargs, {**self.env, **(env or {})})
        self._members.append(child)
        return child

    def manage(self, *arguments: str, env: Mapping[str, str] | None = None) -> Daemon:
        """Start `manage.py` with these arguments, for instance `crew.manage("kck", "worker")`."""
        command = [sys.executable, "manage.py", *arguments]
        daemon = Daemon(command, env={**self.env, **(env or {})})
        self._members.append(daemon)
        return daemon

    def barrier(self, children: Iterable[Child], point: str = "ready") -> None:
        """Wait until all of them stand at `point`, then let all of them go at once."""
        waiting = list(children)
        for child in waiting:
            child.wait_for(point)
        for child in waiting:
            child.go(point)

    def close(self) -> None:
        """Kill whoever is left."""
        for member in self._members:
            member.close()
        self._members.clear()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def database_url_of(alias: str = "default") -> str:
    """Return the URL of the database that the test itself uses, so that other processes find it."""
    from urllib.parse import quote, urlencode

    used = connections[alias].settings_dict
    options = {name: value for name, value in used["OPTIONS"].items() if isinstance(value, str)}
    login = f"{quote(used['USER'], safe='')}:{quote(used['PASSWORD'], safe='')}"
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{login}@{used['HOST']}:{used['PORT']}/{quote(used['NAME'], safe='')}{query}"
