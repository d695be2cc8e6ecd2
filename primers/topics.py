"""Topics: what messages are counted by, what they say last, and what they said.

::

    # ci/primers.py
    from datetime import timedelta

    from primers import topics


    class BuildsByPackage(topics.CountBy):
        key_base = "builds_by_package"
        topics = ["build.*"]
        by = "package.name"
        window = "hour"


    class BuildStatus(topics.LatestStatus):
        key_base = "build_status"
        topics = ["build.*"]
        category, constraint, status = "package.name", "arch", "state"


    class Builds(topics.EventLog):
        key_base = "builds"
        topics = ["build.*"]
        retention = timedelta(days=14)

``cache.get("builds_by_package/bash/2026-01-31T10")`` is how many messages of that hour were about bash;
``cache.get("build_status/bash")`` is ``{"x86_64": {"status": "done", "at": …, "id": "b17"}}``;
``cache.primer("builds").last(days=7)`` yields what was said within the last week, in the order in which it
happened.

Where something stands in a message is said by a dotted path into its body (``"package.name"``), or by a
function of the message (``lambda message: message.topic``). A path that leads through a list leads to what
each of its items has.

``CountBy``, ``SumBy`` and ``LatestStatus`` have a product for each value (``builds_by_package/bash``), so that
many of them change beside each other, and each has a series. With ``parameters = []`` there is one product for
all of them, ``{"bash": 12, "vim": 3}``: one read for a table, as long as they are hundreds and not millions,
since each batch of messages writes it anew.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from django.utils import timezone

from kck_flow import Cache, Message, Parameter, StringParameter, Topic
from kck_flow.errors import DeclarationError

Where = str | Callable[[Message], Any]
INSTANT = timedelta(microseconds=1)
# Of a log with small windows, so much is asked for in one query.
AT_ONCE = timedelta(hours=1)


# -- where something stands in a message -----------------------------------------------------------------------


def found_in(message: Message, where: Where) -> list[Any]:
    """Return what stands at a place of a message: nothing, one thing, or several; None is nothing."""
    found = where(message) if callable(where) else list(_walk(message.body, where.split(".")))
    if isinstance(found, (list, tuple, set, frozenset)):
        return [one for one in found if one is not None]
    return [] if found is None else [found]


def _walk(found: Any, names: Sequence[str]) -> Iterator[Any]:
    if isinstance(found, (list, tuple)):
        for one in found:
            yield from _walk(one, names)
    elif not names:
        yield found
    elif isinstance(found, Mapping):
        yield from _walk(found.get(names[0]), names[1:])


def as_text(value: Any) -> str:
    """Return a value of a message as the text that stands in a key; a boolean as JSON spells it.

    Raises:
        ValueError: it is no single value.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (int, float, Decimal, UUID)):
        return str(value)
    raise ValueError(f"{value!r} is no single value: messages are told apart by texts, numbers and dates.")


def place(primer: Topic, name: str) -> Where:
    """Return what a primer's attribute says: a path, or a function, which it is not called as a method of.

    Raises:
        DeclarationError: it says neither.
    """
    where = getattr(type(primer), name)
    if callable(where) or (isinstance(where, str) and where):
        return where  # type: ignore[no-any-return]
    raise DeclarationError(
        f"{name} says where it stands in a message: a path such as 'package.name', or a function of the "
        f"message; not {where!r}."
    )


def same(primer: Topic, value: Any) -> Any:
    """Return a value as the primer's first parameter has it."""
    one = primer.own_parameters[0]
    return as_text(value) if isinstance(one, StringParameter) else value


# -- how many, how much ----------------------------------------------------------------------------------------


class CountBy(Topic):
    """How many messages there are of each value of a dimension, in each window where it has windows.

    An int for each value; with ``parameters = []``, one dict for all of them. A message with several values counts
    once for each, one without any counts nowhere.

    Attributes:
        by: The dimension: a path into the body, or a function of the message that returns a value, a list of
            them, or None.
    """

    unit, unit_plural = "message", "messages"
    parameters: Sequence[Parameter[Any]] = [StringParameter("value")]
    by: ClassVar[Where] = ""

    def __init__(self) -> None:
        super().__init__()
        self.dimension = place(self, "by")
        if len(self.own_parameters) > 1:
            raise DeclarationError("parameters are one, the value that is counted by, or none.")

    def initial(self) -> Any:
        return 0 if self.own_parameters else {}

    def values(self, message: Message) -> list[Any]:
        """Return what a message counts for; each once."""
        found = found_in(message, self.dimension)
        if self.own_parameters:
            return list(dict.fromkeys(same(self, value) for value in found))
        return list(dict.fromkeys(map(as_text, found)))

    def keys(self, message: Message) -> Any:
        values = self.values(message)
        if not self.own_parameters:
            return {} if values else None
        return [{self.own_parameters[0].name: value} for value in values]

    def amount(self, message: Message) -> Any:
        """Return what a message adds to each of its values."""
        return 1

    def process(self, state: Any, message: Message) -> Any:
        if self.own_parameters:
            return state + self.amount(message)
        for value in self.values(message):
            state[value] = state.get(value, 0) + self.amount(message)
        return state


class SumBy(CountBy):
    """How much messages tell of each value of a dimension: the sum of a number in them.

    Whole numbers and decimals add up to the same in any order; floats nearly.

    Attributes:
        of: The number: a path into the body, or a function of the message. Of several, their sum; of none, 0.
    """

    of: ClassVar[Where] = ""

    def __init__(self) -> None:
        super().__init__()
        self.number = place(self, "of")

    def amount(self, message: Message) -> Any:
        numbers = found_in(message, self.number)
        for one in numbers:
            if isinstance(one, bool) or not isinstance(one, (int, float, Decimal)):
                raise ValueError(f"{one!r} is no number to be added up by {self.name!r}.")
        return sum(numbers)


# -- what was said last ----------------------------------------------------------------------------------------


class LatestStatus(Topic):
    """The latest status of each constraint of each category.

    For each category a dict, ``{constraint: {"status": …, "at": datetime, "id": text}}``; with ``parameters = []``
    one dict for all of them, ``{category: {constraint: {…}}}``: what a dashboard reads at once.

    The latest is what happened last, by the messages' own instants; of those of one instant, the one with the
    greatest id. So it never goes back, in whatever order they come. A message that lacks one of the three says
    nothing.

    Attributes:
        category, constraint: What a status is of: paths into the body, or functions of the message. Several of
            them stand for each pair.
        status: What it is: a path, or a function; anything that JSON can hold.
    """

    parameters: Sequence[Parameter[Any]] = [StringParameter("category")]
    category: ClassVar[Where] = "category"
    constraint: ClassVar[Where] = "constraint"
    status: ClassVar[Where] = "status"

    def __init__(self) -> None:
        super().__init__()
        self.places = [place(self, name) for name in ("category", "constraint", "status")]
        if len(self.own_parameters) > 1:
            raise DeclarationError("parameters are one, the category, or none.")

    def initial(self) -> Any:
        return {}

    def keys(self, message: Message) -> Any:
        categories, constraints, statuses = self.said(message)
        if not (categories and constraints and statuses):
            return None
        if not self.own_parameters:
            return {}
        return [{self.own_parameters[0].name: one} for one in categories]

    def said(self, message: Message) -> tuple[list[Any], list[str], list[Any]]:
        """Return the categories, the constraints and the status that a message names."""
        categories, constraints, statuses = (found_in(message, where) for where in self.places)
        if self.own_parameters:
            named = [same(self, one) for one in categories]
        else:
            named = [as_text(one) for one in categories]
        return list(dict.fromkeys(named)), list(dict.fromkeys(map(as_text, constraints))), statuses

    def process(self, state: Any, message: Message) -> Any:
        categories, constraints, statuses = self.said(message)
        if len(statuses) > 1:
            raise ValueError(f"{statuses!r} is more than one status, and {self.name!r} keeps the latest one.")
        told = {"status": statuses[0], "at": message.at, "id": message.id}
        boards = (
            [state] if self.own_parameters else [state.setdefault(category, {}) for category in categories]
        )
        for board in boards:
            for constraint in constraints:
                known = board.get(constraint)
                if known is None or (known["at"], known["id"]) < (told["at"], told["id"]):
                    board[constraint] = told
        return state


# -- what was said ---------------------------------------------------------------------------------------------


class EventLog(Topic):
    """What was said, in the order in which it happened; kept for ``retention``.

    For each window (a day) a list of ``{"at": datetime, "id": text, "topic": text, "body": …}``, by instant, and
    of one instant by id. ``kck prune`` deletes the windows that ended longer ago than ``retention``.

    Each batch of messages writes the windows that it touches anew. Where thousands come in an hour, take a smaller
    window, ``window = "hour"`` or ``"5m"``; what is yielded is the same.
    """

    window: str | timedelta | None = "day"
    retention: timedelta | None = timedelta(days=30)

    def initial(self) -> Any:
        return []

    def kept(self, message: Message) -> Any:
        """Return what is kept of a message's body: all of it, unless a subclass says otherwise."""
        return message.body

    def process(self, state: Any, message: Message) -> Any:
        told = {
            "at": message.at,
            "id": message.id,
            "topic": message.topic,
            "body": self.kept(message),
        }
        # They come nearly in order: what is new belongs at the end, or close to it.
        insort(state, told, key=in_time)
        return state

    def last(self, days: float, **params: Any) -> Iterator[dict[str, Any]]:
        """Yield what happened within the last ``days`` times 24 hours, oldest first.

        Args:
            params: Of the product, where it has parameters.
        """
        now = timezone.now()
        return self.events(now - timedelta(days=days), now + INSTANT, **params)

    def events(self, start: datetime, end: datetime, **params: Any) -> Iterator[dict[str, Any]]:
        """Yield what happened in ``[start, end)``, oldest first. A window is in memory at a time, or an hour of them.

        Raises:
            NotPrimed: it has not begun to read messages.
        """
        cache, key = Cache.get_instance(), self.build_key(**params)
        while start < end:
            points = cache.series(key, start, min(start + AT_ONCE, end))
            for point in points:
                for one in point.value or ():
                    if start <= one["at"] < end:
                        yield one
            start = points[-1].end


def in_time(told: Mapping[str, Any]) -> tuple[datetime, str, str]:
    """Return the place of an event among others."""
    return told["at"], told["id"], told["topic"]
