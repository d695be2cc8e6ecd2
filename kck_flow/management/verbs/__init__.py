"""The verbs of ``manage.py kck``, by what they are about."""

from __future__ import annotations

from ..arguments import Verb
from . import checking, moving, products, pruning, refreshes, starting, watching, workers

ALL: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        *products.VERBS,
        *refreshes.VERBS,
        *watching.VERBS,
        *workers.VERBS,
        *checking.VERBS,
        *pruning.VERBS,
        *moving.VERBS,
        *starting.VERBS,
    )
}
