"""The ASGI application of the living site, its styles and scripts included."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness.daemons import ROOT, Daemon, free_port

# What a page may load: its own files, and nothing inline. Scripts that write HTML need a policy of their own.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; " + (
    "require-trusted-types-for 'script'; trusted-types kck"
)


def with_policy(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Put the policy on every answer."""

    def answer(request: Any) -> Any:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return answer


def _application() -> Any:
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
    from django.core.asgi import get_asgi_application

    return ASGIStaticFilesHandler(get_asgi_application())


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve, once Django is set up."""
    global _served
    if _served is None:
        _served = await asyncio.to_thread(_application)
    await _served(scope, receive, send)


_served: Any = None


class Site:
    """A site that uvicorn serves in a process of its own, and that can be stopped and started again.

    Args:
        flow: Its KCK_FLOW.
        name: What its connections are called in the database.
        settings: The module of its settings.
    """

    def __init__(
        self, flow: dict[str, Any], name: str = "living", settings: str = "tests.browser.living"
    ) -> None:
        import json

        from tests.harness.processes import database_url_of

        url = database_url_of("default")
        self.name, self.port, self.daemon = name, free_port(), None
        self.env = {
            "DJANGO_SETTINGS_MODULE": settings,
            "DATABASE_URL": f"{url}{'&' if '?' in url else '?'}application_name={name}",
            "PYTHONUNBUFFERED": "1",
            "KCK_TEST_FLOW": json.dumps(flow),
        }

    @property
    def root(self) -> str:
        return f"http://localhost:{self.port}/x/y/"

    def start(self) -> None:
        """Serve; returns when it does."""
        import sys

        command = [
            *(sys.executable, "-m", "uvicorn", "tests.browser.served:application"),
            "--lifespan",
            "off",
        ]
        command += ["--port", str(self.port), "--timeout-graceful-shutdown", "1"]
        self.daemon = Daemon(command, env=self.env, cwd=ROOT)
        self.daemon.wait_for("Uvicorn running on")

    def stop(self) -> None:
        """Serve no longer."""
        if self.daemon is not None:
            self.daemon.close()


@contextmanager
def serving(flow: dict[str, Any], settings: str = "tests.browser.living") -> Iterator[Site]:
    """A site, until the end of the block."""
    site = Site(flow, f"living-{uuid.uuid4().hex[:8]}", settings)
    site.start()
    try:
        yield site
    finally:
        site.stop()
