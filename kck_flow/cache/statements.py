"""The SQL that a computation runs, noted as it goes: for whoever asks where a number comes from.

Of each statement its text, never its parameters, which may be somebody's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connections

MOST = 20  # different statements
LONGEST = 2000  # characters of one


class Noted:
    """The statements of a computation, in the order in which each was first run.

    Attributes:
        texts: How often each was run.
        more: How many others there were.
    """

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}
        self.more = 0

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = " ".join(str(sql).split())[:LONGEST]
        if "kck_" not in text:  # what the cache asks of its own tables is no part of the definition
            if text in self.texts or len(self.texts) < MOST:
                self.texts[text] = self.texts.get(text, 0) + 1
            else:
                self.more += 1
        return execute(sql, params, many, context)

    def told(self) -> list[list[Any]] | None:
        """Return [text, how often] each, as a run keeps them; None where there were none."""
        found: list[list[Any]] = [[text, times] for text, times in self.texts.items()]
        if self.more:
            found.append(["", self.more])
        return found or None


@contextmanager
def noted() -> Iterator[Noted]:
    """Note what this thread runs through Django within the block, on whichever database."""
    found = Noted()
    with ExitStack() as stack:
        for alias in connections:
            stack.enter_context(connections[alias].execute_wrapper(found))
        yield found
