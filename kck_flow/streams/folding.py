"""A batch of messages becomes new states of products: in memory, each product once.

A handler that raises has no part in what comes of it: what it did is taken back, whatever else the batch did is done
again without its message. Most batches have none, and are handled once.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import Error as DatabaseErrors
from django.db import OperationalError, connections, transaction

from .. import clock
from ..cache.failures import describe
from ..errors import UnstorableValue
from ..key import Key, build
from ..message import Message
from ..store.outbox import Logged
from ..storing import encode
from ..topic import Topic

# As libpq tells it of a transaction.
INERROR = 3
# How often a batch is begun again without the messages whose handlers failed, before a smaller one is tried.
ROUNDS = 5
# Of so many it is looked one by one which of them wrote what is refused only once all of it is committed.
FEW = 20
# Parameters of these types that are equal make one key.
PLAIN = (str, int)


class TooManyFail(Exception):
    """In every round other messages failed: fewer of them at a time will show which they are."""


@dataclass(slots=True)
class Given:
    """A message as a batch has it.

    Attributes:
        logged: The message, as it is in the log.
        enriched: What enriching it gave.
        first: A copy of it that no handler has had; None once one has.
    """

    logged: Logged
    enriched: Any = None
    first: Message | None = None

    def copy(self) -> Message:
        """Return a copy of its own of the message."""
        message, self.first = self.first, None
        return message if message is not None else self.again()

    def again(self) -> Message:
        message = self.logged.message()
        message.enriched = self.enriched
        return message


@dataclass(slots=True)
class Failure:
    """A message whose handler failed: the error as text, and where."""

    given: Given
    error: str
    trace: str


@dataclass(slots=True)
class Batch:
    """What a batch of messages comes to.

    Attributes:
        products: For each product the messages that belong to it, in their order.
        failures: The messages that have no part in it.
    """

    products: dict[Key, list[Given]] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)


def sorted_out(topic: Topic, messages: Sequence[Given]) -> Batch:
    """Return which messages belong to which products."""
    batch = Batch()
    known: dict[Any, Key] = {}
    names = [one.name for one in topic.own_parameters]
    kept = topic.kept_from(clock.now())
    for given in messages:
        try:
            message = given.first = given.again()
            keys: list[Key] = []
            windows = _windows(topic, given.logged.at, kept)
            for params in topic.own_params(message):
                values = tuple(map(params.get, names))
                # 1, True and 1.0 are one to a dict, and not to a parameter.
                alike = len(params) == len(names) and all(type(one) in PLAIN for one in values)
                for size, start in windows:
                    place = (size, start, *values)
                    key = known.get(place) if alike else None
                    if key is None:
                        key = _key_of(topic, params, size, start)
                        if alike:
                            known[place] = key
                    keys.append(key)
        except Exception as error:
            _fail(batch, given, error)
            continue
        for key in dict.fromkeys(keys) if len(keys) > 1 else keys:
            batch.products.setdefault(key, []).append(given)
    return batch


def _windows(
    topic: Topic, at: datetime, kept: Mapping[str, datetime]
) -> Sequence[tuple[str, datetime | None]]:
    """Return the windows around an instant that a topic still keeps: the name of the size, and the start, each. Of one
    without windows, one that begins nowhere.
    """
    if not topic.sizes:
        return (("", None),)
    found = [(size, window.start_of(at)) for size, window in topic.sizes.items()]
    return [(size, start) for size, start in found if start >= kept[size]] if kept else found


def _key_of(topic: Topic, params: Mapping[str, Any], size: str, start: datetime | None) -> Key:
    """Return the key of a product. Raises InvalidKey: these are not its parameters."""
    if start is None:
        return topic.build_key(**params)
    own = build(topic.name, topic.own_parameters, params)  # what is no parameter is refused
    return topic.key_at(own.params, size, start)


def folded(
    topic: Topic, alias: str, batch: Batch, states: Callable[[], dict[Key, Any]]
) -> dict[Key, tuple[str | None, str, Any]]:
    """Return what each product is after its messages: (text, state of the entry, value).

    Args:
        states: Gives a fresh copy of what each product is before them; ``initial()`` where it is not.

    Raises:
        TooManyFail: it could not be told which handlers fail.
    """
    deferred, each = True, False
    suspects: set[Key] = set()
    for _ in range(ROUNDS):
        # What a handler has written goes with what it made of its state.
        with transaction.atomic(using=alias):
            before, suspected = set(batch.failures), len(suspects)
            found = _round(topic, alias, batch, states(), each, suspects)
            refused = None
            if set(batch.failures) == before and len(suspects) == suspected:
                refused = _refused(alias) if deferred else None
                if refused is None:
                    return found
            connections[alias].needs_rollback = False
            transaction.set_rollback(True, using=alias)
        if refused is not None:
            if _refused(alias) is not None:
                deferred = False  # what whoever called us wrote himself would be: that is his affair
            elif _left(batch) > FEW:
                raise TooManyFail
            else:
                each = True
    raise TooManyFail


def _left(batch: Batch) -> int:
    """Return how many messages of a batch have not failed."""
    there = {given.logged.id for messages in batch.products.values() for given in messages}
    return len(there - set(batch.failures))


def _refused(alias: str) -> DatabaseErrors | None:
    """Return of what the transaction would fail as it is committed: constraints that are deferred until then, as those
    of Django's foreign keys. They stay deferred: a handler, or a hook after it, may write first what points to the row
    that it writes next.

    Raises:
        django.db.OperationalError: it could not be told.
    """
    try:
        with transaction.atomic(using=alias):
            with connections[alias].cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            transaction.set_rollback(True, using=alias)
    except OperationalError:
        raise
    except DatabaseErrors as error:
        return error
    return None


def _round(
    topic: Topic, alias: str, batch: Batch, states: dict[Key, Any], each: bool, suspects: set[Key]
) -> dict[Key, tuple[str | None, str, Any]]:
    """Handle a batch once; it is to be taken back where a message has failed that had not before.

    Args:
        each: Whether deferred constraints are looked at after each message.
        suspects: Products whose states are encoded after each message, since they could not be stored in the end. One
            of which that comes out is added.
    """
    process, failures, connection = topic.process, batch.failures, connections[alias]
    found: dict[Key, tuple[str | None, str, Any]] = {}
    for key, messages in batch.products.items():
        state = states[key]
        begun = False
        for given in messages:
            if given.logged.id in failures:
                continue
            begun = True
            try:
                after = process(state, given.copy())
                if connection.needs_rollback or _is_aborted(connection):
                    # What it wrote is lost, whatever it made of the error.
                    raise DatabaseErrors(
                        "its transaction failed: an error of the database was caught, and passed over"
                    )
                if each and (refused := _refused(alias)) is not None:
                    raise refused
                if key in suspects:
                    encode(key, topic, topic.codec, after if after is not None else state)
            except DatabaseErrors as error:
                _fail(batch, given, error)
                return found  # the transaction is of no use any more
            except UnstorableValue as error:
                _fail(batch, given, error)
                if key in suspects:
                    break  # no more could be what the others make of it
                continue
            except Exception as error:
                _fail(batch, given, error)
                continue
            if after is not None:
                state = after
        if not begun:
            continue
        try:
            found[key] = (*encode(key, topic, topic.codec, state), state)
        except UnstorableValue:
            suspects.add(key)
    return found


def _is_aborted(connection: Any) -> bool:
    """Return whether the server does nothing more in this transaction."""
    raw = connection.connection
    return raw is not None and int(raw.info.transaction_status) == INERROR


def _fail(batch: Batch, given: Given, error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))
    batch.failures[given.logged.id] = Failure(given, describe(error), trace)
