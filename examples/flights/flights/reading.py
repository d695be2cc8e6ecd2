"""Asking for products on behalf of a page: what was read, or in one sentence why there is nothing to show."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count
from kck_flow import Cache
from kck_flow.errors import ComputeFailed, ComputeTimeout, NotPrimed, WaitTimeout
from kck_flow.models import Run


@dataclass
class Reading:
    """One product as a page shows it; where there is no value, ``trouble`` says why."""

    key: str
    state: str
    value: Any = None
    computed_at: datetime | None = None
    age: timedelta | None = None
    version: int = 0
    milliseconds: float = 0.0
    trouble: str = ""
    computes: int | None = None


def read(key: str, *, wait: timedelta | None = None, prime: bool = True) -> Reading:
    """Ask for one product. It is computed first where there is nothing to serve.

    Args:
        key: A key; one that is no key raises ``InvalidKey``, for which a view answers 404.
        wait: How long to wait for a computation before the page says that it is under way; by default as long as
            the primer allows.
        prime: Whether it may be computed.
    """
    started = time.perf_counter()
    try:
        entry = Cache.get_instance().get_entry(key, wait=wait, prime_on_cache_miss=None if prime else False)
    except NotPrimed:
        reading = Reading(key, "empty", trouble="Not computed yet.")
    except (WaitTimeout, ComputeTimeout):
        reading = Reading(key, "computing", trouble="Being computed now; look again in a few seconds.")
    except ComputeFailed as error:
        reading = Reading(key, "failed", trouble=str(error))
    else:
        reading = Reading(entry.key, entry.state, entry.value, entry.computed_at, entry.age, entry.version)
    reading.milliseconds = (time.perf_counter() - started) * 1000
    return reading


def computes(keys: Iterable[str]) -> dict[str, int]:
    """Return how often each product has been computed, from the records of the runs: one question for all."""
    keys = [str(key) for key in keys]
    runs = Run.objects.filter(key__in=keys, key_base__in={key.split("/")[0] for key in keys})
    counted = dict(
        runs.filter(outcome__in=[Run.DONE, Run.UNCHANGED]).values_list("key").annotate(runs=Count("pk"))
    )
    return {key: counted.get(key, 0) for key in keys}


def with_computes(readings: Iterable[Reading]) -> list[Reading]:
    """Return the readings, told how often each was computed."""
    readings = list(readings)
    counted = computes(reading.key for reading in readings)
    for reading in readings:
        reading.computes = counted[reading.key]
    return readings
