"""The verbs of ``manage.py kck``, by what they are about."""

from __future__ import annotations

from ..arguments import Verb
from .checking import VERBS as CHECKING
from .collecting import VERBS as COLLECTING
from .counting import VERBS as COUNTING
from .exporting import VERBS as EXPORTING
from .framing import VERBS as FRAMING
from .moving import VERBS as MOVING
from .products import VERBS as PRODUCTS
from .pruning import VERBS as PRUNING
from .refreshes import VERBS as REFRESHES
from .seeding import VERBS as SEEDING
from .starting import VERBS as STARTING
from .streaming import VERBS as STREAMING
from .watching import VERBS as WATCHING
from .workers import VERBS as WORKERS

ALL: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        *PRODUCTS,
        *REFRESHES,
        *COUNTING,
        *STREAMING,
        *FRAMING,
        *COLLECTING,
        *SEEDING,
        *WATCHING,
        *WORKERS,
        *CHECKING,
        *PRUNING,
        *MOVING,
        *EXPORTING,
        *STARTING,
    )
}
