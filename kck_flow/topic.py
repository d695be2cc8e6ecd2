"""Topic: products that messages feed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from .errors import DeclarationError
from .key import Key
from .message import Message
from .primer import Primer, is_duration, takes
from .windowed import Windowed


class Topic(Windowed):
    """Products fed by messages: each message is handled once, in the transaction that remembers that it was.

    Without windows, ``cache.get("orders_by_shop/7")`` is what all messages so far have made of it; with one (or
    several), ``cache.get("orders_by_shop/7/2026-01-31T10")`` is what those made of it that happened in that hour.

    Attributes:
        topics: Names of the messages that it reads, ``*`` for anything, such as ``["orders.*"]``; its key base where
            not given.
        window: The size of its windows, where it has one: ``"1m"``, ``"hour"``, a timedelta. None: no windows.
        windows: Several sizes side by side, filled in one pass.
        tz: Zone in which days, weeks and months begin.
        lateness: How long after its end a window still counts as incomplete. What comes later is in its window all the
            same, and counted as late.
        epoch: What happened before is neither asked for nor counted.
        max_replay: How far back at most it begins, or goes on after having been down.
        partitions: In how many parts its messages may be handled beside each other; those of one key stay in order.
        batch: How many messages are handled in one transaction, at most.
        retries: How often a message whose handler failed is tried again by itself, with ``backoff``.
        subjects: Of whom its messages tell: for a model's label, the paths in the body that say which of its rows
            (the first) and what else there is of it, such as ``{"shop.Customer": ["customer.id", "customer.email"]}``.
            ``kck prune --subject`` empties them.
        retention: How long its windows are kept, from their end; ``kck prune`` deletes them, and what comes for them
            after that counts no more. None: for ever.
    """

    topics: Sequence[str] = ()
    window: str | timedelta | None = None
    lateness: timedelta = timedelta(0)
    epoch: datetime | None = None
    max_replay: timedelta | None = None
    partitions: int = 1
    batch: int = 5000
    subjects: Mapping[str, str | Sequence[str]] = MappingProxyType({})
    prime_on_cache_miss = False

    def __init__(self) -> None:
        super().__init__()
        named = self.topics if self.topics else self.key_base_list[:1]
        if not isinstance(named, (list, tuple)) or not all(isinstance(one, str) and one for one in named):
            raise DeclarationError(f"topics is a list of names, such as ['orders.*'], not {self.topics!r}.")
        self.patterns: tuple[str, ...] = tuple(named)
        if self.epoch is not None and (not isinstance(self.epoch, datetime) or self.epoch.tzinfo is None):
            raise DeclarationError(f"epoch is an aware datetime, not {self.epoch!r}.")
        if not isinstance(self.partitions, int) or not 1 <= self.partitions <= 64:
            raise DeclarationError(f"partitions is a number from 1 to 64, not {self.partitions!r}.")
        if not isinstance(self.batch, int) or self.batch < 1:
            raise DeclarationError(f"batch is a number of messages, not {self.batch!r}.")
        self.enriches = type(self).enrich is not Topic.enrich

    def one_size(self) -> str | timedelta | None:
        return self.window

    # -- what a declaration defines
    # ---------------------------------------------------------------------------------

    def initial(self) -> Any:
        """Return the state of a product that no message has reached: 0."""
        return 0

    def process(self, state: Any, message: Message) -> Any:
        """Return the state of a product after one more message: by default, one more.

        A dict or list may be changed in place; None that is returned stands for the state as it is then. What it writes
        to the same database commits or vanishes with the state. Where it raises, the message is parked, and nothing
        that it did is kept.

        Args:
            state: The product's value so far: a copy of its own.
            message: A copy of its own, too.
        """
        return state + 1

    def keys(self, message: Message) -> Any:
        """Return to which product a message belongs: a dict of parameters, a list of them for several, None for none.

        By default, its body's values of the parameters' names; a message that lacks one belongs to none.
        """
        if not self.own_parameters:
            return {}
        body = message.body
        if not isinstance(body, Mapping):
            return None
        try:
            return {one.name: body[one.name] for one in self.own_parameters}
        except KeyError:
            return None

    def enrich(self, message: Message) -> Any:
        """Return what ``process`` needs to know besides, as ``message.enriched``: what takes long to find out.

        Called in background threads, at least once for each message, and as often as ``retries`` says where it raises;
        messages that are enriched are handled in the order in which that is done.
        """
        return None

    # -- what the rest of the package asks
    # --------------------------------------------------------------------------

    @classmethod
    def problems(cls) -> Iterator[tuple[str, str]]:
        """Yield what is declared wrongly, as (what is wrong, what to do); the checks show it."""
        for name in ("schedule", "domain", "soft_expire", "hard_expire"):
            if getattr(cls, name) is not None:
                yield (
                    f"a topic has no use for {name}: it is made of messages, as they come",
                    f"Remove {name}; how long its windows are kept is told by retention.",
                )
        if cls.version != 1:
            yield (
                "a topic has no use for version: what its handler made of messages is not made again by itself",
                "Remove version. To have the messages handled again: manage.py kck rewind.",
            )
        if cls.depends_on or cls.always_fresh:
            yield (
                "a topic depends on nothing but its messages",
                "Remove depends_on and always_fresh; send a message where something else has changed.",
            )
        if cls.compute is not Topic.compute or cls.augment is not Primer.augment:
            yield (
                "a topic has no compute and no augment: nobody would call them",
                "Define process(self, state, message), and initial(self) for what it is before the first message.",
            )
        yield from _wrong_subjects(cls.subjects)
        if not is_duration(cls.lateness):
            yield f"lateness is {cls.lateness!r}", "Give a timedelta of zero or more."
        if cls.max_replay is not None and not is_duration(cls.max_replay):
            yield f"max_replay is {cls.max_replay!r}", "Give a timedelta, or None."
        for name, given in (("process", 2), ("keys", 1), ("enrich", 1), ("initial", 0)):
            if not takes(getattr(object.__new__(cls), name, None), *[None] * given):
                shown = ", ".join(["self", *(("state", "message")[-given:] if given else ())])
                yield f"{name} cannot be called as {name}({shown})", f"Define {name}({shown})."

    # -- what the consumer asks
    # --------------------------------------------------------------------------

    def kept_from(self, now: datetime) -> dict[str, datetime]:
        """Return of each size of window where the first begins that is kept; nothing where all are.

        What ended longer ago than ``retention`` is pruned: no message reaches it any more, since it would be alone in
        there.
        """
        if self.retention is None:
            return {}
        return {size: window.start_of(now - self.retention) for size, window in self.sizes.items()}

    def compute(self, key: Key) -> Any:
        raise NotImplementedError(f"{self.name!r} is made of messages: there is nothing to compute it from.")

    def own_params(self, message: Message) -> Iterable[Mapping[str, Any]]:
        """Return the parameters of each product that a message belongs to.

        Raises:
            ValueError: ``keys`` returned something else.
        """
        found = self.keys(message)
        if found is None:
            return ()
        if isinstance(found, Mapping):
            return (found,)
        if isinstance(found, (str, bytes)) or not isinstance(found, Iterable):
            several = f"[{found!r}]" if len(self.own_parameters) == 1 else "a list of them"
            raise ValueError(
                f"keys() of {self.name!r} returned {found!r}. Return a dict of parameters, {several} for as many "
                "products as there are in it, or None for none."
            )
        return [self._as_params(one) for one in found]

    def _as_params(self, one: Any) -> Mapping[str, Any]:
        if isinstance(one, Mapping):
            return one
        if len(self.own_parameters) == 1:
            return {self.own_parameters[0].name: one}
        raise ValueError(f"keys() of {self.name!r} returns dicts of parameters, not {one!r}.")


def paths_of(given: str | Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the paths in a body that ``subjects`` names for one model, step by step."""
    return tuple(tuple(one.split(".")) for one in ([given] if isinstance(given, str) else given))


def _wrong_subjects(given: Any) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with ``subjects``."""
    what_to_do = 'Give models with paths: {"shop.Customer": ["customer.id", "customer.email"]}.'
    if not isinstance(given, Mapping):
        yield f"subjects is {given!r}", what_to_do
        return
    for label, named in given.items():
        paths = [named] if isinstance(named, str) else named
        if not isinstance(label, str) or label.count(".") != 1 or not all(label.split(".")):
            yield f"subjects has {label!r}, which is no model", what_to_do
        if (
            not isinstance(paths, (list, tuple))
            or not paths
            or not all(isinstance(one, str) and all(one.split(".")) for one in paths)
        ):
            yield f"subjects has {named!r} for {label}, which is no list of paths", what_to_do
