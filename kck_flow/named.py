"""Classes that a setting names, each with its options: found, and held against what they take."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from django.utils.module_loading import import_string


def problem(named: str, given: Any, kind: str) -> str | None:
    """Return a sentence on what is wrong with ``{kind: "dotted.Class", **options}``; None where nothing is.

    Args:
        named: How the sentence calls it: ``KCK_FLOW['SOURCES']['orders']``.
        kind: The key under which the class stands.
    """
    if not isinstance(given, Mapping):
        return f"{named} must be a dict with a {kind!r} and its options, not {given!r}."
    if kind not in given:
        return f'{named} has no {kind!r}: name its class, such as "kck_flow.sources.amqp.AMQP".'
    try:
        takes = _options(found(given[kind]))
    except (ImportError, TypeError) as error:
        return f"{named}: {given[kind]!r} cannot be found: {error}"
    options = [name for name in given if name != kind]
    for name in options:
        if name not in takes and not any(one.kind is one.VAR_KEYWORD for one in takes.values()):
            near = difflib.get_close_matches(str(name), takes, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It takes: {', '.join(takes)}."
            return (
                f"{named} has an option {name!r}, and {_short(given[kind])} takes none of that name. {hint}"
            )
    for name, one in takes.items():
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD and name not in options:
            return f"{named} lacks the option {name!r}, without which {_short(given[kind])} cannot work."
    return None


def found(given: Any) -> type[Any]:
    """Return a class from itself or its dotted path.

    Raises:
        ImportError: there is none of that name.
        TypeError: it is no class.
    """
    made = import_string(given) if isinstance(given, str) else given
    if not isinstance(made, type):
        raise TypeError(f"it is no class, but {made!r}.")
    return made


def _options(made: type[Any]) -> dict[str, inspect.Parameter]:
    if made.__init__ is object.__init__:
        return {}
    parameters = list(inspect.signature(made.__init__).parameters.values())[1:]
    return {one.name: one for one in parameters if one.kind is not one.VAR_POSITIONAL}


def _short(given: Any) -> str:
    return str(given if isinstance(given, str) else given.__name__).rpartition(".")[2]
