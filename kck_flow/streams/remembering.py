"""Which sources remember what they sent: a topic that begins waits until what it lacks of that is in the log.

Asked of the settings, not of what this process has opened: whoever lets a topic begin need not be who fetches for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from .. import named
from ..conf import conf
from ..message import Source

# Sources that this process has opened, whether the settings name them or not.
opened: set[str] = set()


def sources() -> list[str]:
    """Return the names of the sources that remember."""
    found = {name for name, options in conf.SOURCES.items() if _remembers(options)}
    return sorted(found | opened)


def there(names: Iterable[str]) -> list[str]:
    """Return those of some sources that anybody could still be waited for: that remember, and go by this name."""
    known = sources()
    return [name for name in names if name in known]


def _remembers(options: object) -> bool:
    """Return whether a source is declared that has a history: of its class alone, whose library may not be here."""
    try:
        made = named.found(options["source"])  # type: ignore[index]
    except (ImportError, TypeError, KeyError):
        return False  # the checks say so
    return issubclass(made, Source) and made.history is not Source.history
