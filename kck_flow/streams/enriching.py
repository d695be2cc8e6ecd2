"""Messages that need to be enriched are, one after the other, in threads beside the topics that wait for them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

from .. import spread
from ..cache.failures import backoff_seconds, describe
from ..registry import registry
from ..store import held
from ..store.session import caller
from ..topic import Topic

logger = logging.getLogger("kck_flow")

# How long one message may take before another process takes it, too.
LEASE_SECONDS = 60.0


def enriching(alias: str, names: Sequence[str] | None = None) -> list[str]:
    """Return the topics of a database whose messages are enriched."""
    return [
        one.name
        for one in registry.unique()
        if isinstance(one, Topic)
        and one.enriches
        and spread.alias_of(one) == alias
        and (names is None or one.name in names)
    ]


def enrich_one(names: Sequence[str], alias: str) -> bool:
    """Enrich the message that has waited longest, of some topics; returns whether there was one. Outside transactions:
    it may take long.
    """
    session = caller(alias)
    claimed = held.claim(session, names, LEASE_SECONDS)
    if claimed is None:
        return False
    name, aside = claimed
    topic = registry.primer(name)
    assert isinstance(topic, Topic)
    try:
        held.enriched(session, aside, topic.enrich(aside.logged.message()))
    except Exception as error:
        attempts = aside.attempts + 1
        pause = backoff_seconds(topic, attempts) if attempts <= topic.retries else None
        held.failed(session, aside, describe(error), traceback.format_exc(), pause)
        logger.warning(
            "enriching.failed family=%s id=%s attempts=%d error=%s",
            name,
            aside.logged.message_id,
            attempts,
            describe(error),
        )
    return True


def waits(alias: str, names: Sequence[str] | None = None) -> bool:
    """Return whether any message waits to be enriched, and may be now."""
    enriched = enriching(alias, names)
    return bool(enriched) and held.waits(caller(alias), enriched)
