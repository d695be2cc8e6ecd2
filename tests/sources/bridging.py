"""A process that brings messages from a broker to the log, and can be stopped, and killed, at each of its steps."""

from __future__ import annotations

import threading
from typing import Any

from kck_flow import sources
from kck_flow.streams import intake
from tests.harness.points import stop_at

# Where it can be killed: fetched, but not appended; appended, but not committed; committed, but not acknowledged;
# acknowledged.
POINTS = ("fetched", "appended", "kept", "acknowledged")


def bring(name: str, point: str, after: int, until: int) -> int:
    """Bring messages from a source of the settings; stop at a point of the batch number ``after``.

    Args:
        until: How many messages the log has in the end; then it returns how many it brought itself.
    """
    from kck_flow.models import Outbox

    batches = 0

    def at(here: str) -> None:
        if here == point and batches == after:
            stop_at(here)

    append = intake.log.append

    def appended(*args: Any, **kwargs: Any) -> int:
        new = append(*args, **kwargs)
        at("appended")
        return new

    def made() -> Any:
        source = sources.make(name)
        fetch, ack = source.fetch, source.ack

        def fetched(most: int, timeout: float) -> Any:
            nonlocal batches
            batch = fetch(min(most, 50), timeout)
            if batch:
                batches += 1
                at("fetched")
            else:  # another may have brought the last of them
                enough()
            return batch

        def acknowledged(batch: Any) -> None:
            at("kept")
            ack(batch)
            at("acknowledged")

        source.fetch, source.ack = fetched, acknowledged
        return source

    intake.log.append = appended
    stopping = threading.Event()

    def enough() -> None:
        if Outbox.objects.filter(source=name).count() >= until:
            stopping.set()

    bridge = intake.Bridge(name, made, ["default"], stopping, enough)
    bridge.run()
    return bridge.messages
