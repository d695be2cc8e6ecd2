"""Where messages come from: a broker's queue, a stream, HTTP. Each is a ``kck_flow.message.Source`` of its own module.

What a project uses stands in ``KCK_FLOW["SOURCES"]``, by name; ``make`` makes it. Importing a source's module asks for
no library; making one does.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

from .. import named
from ..conf import conf, source_problem
from ..errors import DeclarationError
from ..message import Source


def make(name: str) -> Any:
    """Return a new object of a source of ``KCK_FLOW["SOURCES"]``, not opened yet.

    Raises:
        DeclarationError: there is none of that name, it is configured wrongly, or its library is not installed.
    """
    options = dict(_configured(name))
    made = named.found(options.pop("source"))
    try:
        source = made(**options)
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"KCK_FLOW['SOURCES'][{name!r}]: {error}") from error
    source.name = name
    return source


def to_fetch() -> list[str]:
    """Return the names of the sources that are to be opened and fetched from: all but those that are sent to, by HTTP.

    Raises:
        DeclarationError: one of them is configured wrongly.
    """
    return [name for name in conf.SOURCES if issubclass(named.found(_configured(name)["source"]), Source)]


def _configured(name: str) -> dict[str, Any]:
    if name not in conf.SOURCES:
        near = difflib.get_close_matches(name, conf.SOURCES, n=1)
        there = ", ".join(sorted(conf.SOURCES)) or "none"
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {there}."
        raise DeclarationError(f"KCK_FLOW['SOURCES'] has no source {name!r}. {hint}")
    wrong = source_problem(name, conf.SOURCES[name])
    if wrong is not None:
        raise DeclarationError(wrong)
    found: dict[str, Any] = conf.SOURCES[name]
    return found


def library(module: str, extra: str) -> Any:
    """Return a source's library.

    Raises:
        DeclarationError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DeclarationError(
            f"This source needs {module.partition('.')[0]}, which cannot be imported ({error}). "
            f"Install it: pip install 'kck-flow[{extra}]'."
        ) from error


def texts(option: str, given: Any) -> tuple[str, ...]:
    """Return an option that is a list of texts.

    Raises:
        TypeError: it is something else; a text alone is, too.
    """
    if (
        isinstance(given, str)
        or not isinstance(given, Sequence)
        or any(not isinstance(one, str) for one in given)
    ):
        raise TypeError(f"{option} must be a list of texts, not {given!r}.")
    return tuple(given)
