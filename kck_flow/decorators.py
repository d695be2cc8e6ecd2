"""Declaring with functions: ``@cached``, ``@updates``, ``@scheduled``."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Coroutine
from datetime import date, datetime
from decimal import Decimal
from types import UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin
from uuid import UUID

from .codec import JSON
from .errors import DeclarationError
from .key import Key
from .mistakes import nearest
from .parameter import (
    REQUIRED,
    BooleanParameter,
    DateParameter,
    DateTimeParameter,
    DecimalParameter,
    FloatParameter,
    IntegerParameter,
    Parameter,
    StringParameter,
    UUIDParameter,
)
from .primer import Primer
from .registry import registry
from .schedule import as_schedule

P = ParamSpec("P")
R = TypeVar("R")

_KINDS: dict[Any, Any] = {
    str: StringParameter,
    int: IntegerParameter,
    float: FloatParameter,
    bool: BooleanParameter,
    Decimal: DecimalParameter,
    date: DateParameter,
    datetime: DateTimeParameter,
    UUID: UUIDParameter,
}


class JSONParameter(Parameter[Any]):
    """An argument without an annotation that says its type: any value that the JSON codec keeps."""

    expected = "a value that JSON can keep"

    def parse(self, text: str) -> Any:
        return JSON.decode(text)

    def clean(self, value: Any) -> Any:
        return JSON.decode(self.to_text(value))

    def to_text(self, value: Any) -> str:
        try:
            return JSON.encode(_settled(value))
        except RecursionError:
            return JSON.encode(value)  # which says how it contains itself


def _place(name: str) -> tuple[int, bytes]:
    written = name.encode("utf-8", "surrogatepass")
    return len(written), written


def _settled(value: Any) -> Any:
    """Return ``value`` with its dicts in one order: equal arguments make one key, however they were written."""
    if type(value) in (list, tuple):
        return type(value)(map(_settled, value))
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            # The order that jsonb gives them anyway needs no telling.
            names = sorted(value, key=_place)
        else:
            names = sorted(value, key=JSON.encode)
        return {name: _settled(value[name]) for name in names}
    return value


def _kind(argument: inspect.Parameter) -> Any:
    """Return the class of parameter that an argument's annotation means; ``X | None = None`` means X."""
    annotation = argument.annotation
    if argument.default is None:
        others = [one for one in get_args(annotation) if one is not type(None)]
        if len(others) == 1 and get_origin(annotation) in (Union, UnionType):
            annotation = others[0]
    try:
        return _KINDS.get(annotation, JSONParameter)
    except TypeError:  # an annotation that cannot be hashed
        return JSONParameter


# What a function says itself, or its decorator.
NOT_GIVEN = ("compute", "key", "key_base", "key_bases", "parameters")


def _known(what: str, attributes: dict[str, Any]) -> None:
    """Refuse what is no attribute of a primer: it would be kept, and do nothing. Raises DeclarationError."""
    for given in attributes:
        if given in NOT_GIVEN:
            raise DeclarationError(f"{what}: {given!r} is said by the function itself, or by its decorator.")
        if not hasattr(Primer, given):
            meant = nearest(given)
            hint = f" Did you mean {meant!r}?" if meant else " The reference lists all there are."
            raise DeclarationError(f"{what}: a primer has no attribute {given!r}.{hint}")


def cached(key_base: str | Callable[..., Any] | None = None, **attributes: Any) -> Any:
    """Cache a function: its result becomes the product ``key_base/<arguments>``.

    Args:
        key_base: The name; ``module.function`` where not given.
        attributes: Attributes of a primer: ``soft_expire``, ``hard_expire``, ``depends_on``, ``schedule``,
            ``domain`` …

    Annotated arguments become typed parameters; others are kept as JSON. Keyword and positional calls meet in
    one entry. An ``async def`` is awaited as before. The function gets the attributes ``primer``,
    ``key(*args, **kwargs)`` and ``uncached`` (itself).

    Raises:
        DeclarationError: it takes ``*args`` or ``**kwargs``, whose names a key cannot carry; or a primer has
            no such attribute.
    """
    if callable(key_base):
        return cached()(key_base)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = key_base or f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")
        _known(f"@cached {name!r}", attributes)
        signature = inspect.signature(function, eval_str=True)
        declared: list[Parameter[Any]] = []
        for argument in signature.parameters.values():
            if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
                raise DeclarationError(
                    f"@cached {name!r}: {argument} has no name for a key; write the arguments out."
                )
            default = REQUIRED if argument.default is argument.empty else argument.default
            declared.append(_kind(argument)(argument.name, default=default))
        # Keyword-only arguments may come in any order; in a key what may be left out comes last.
        declared.sort(key=lambda parameter: parameter.has_default)

        def compute(self: Primer, key: Key) -> Any:
            # A copy: keys are remembered, and a function may do to its arguments what it likes.
            given = copy.deepcopy(dict(key.params))
            positional = [given[a.name] for a in signature.parameters.values() if a.kind is a.POSITIONAL_ONLY]
            named = {
                a.name: given[a.name]
                for a in signature.parameters.values()
                if a.kind is not a.POSITIONAL_ONLY
            }
            return function(*positional, **named)

        body = {
            "key_base": name,
            "parameters": declared,
            "compute": compute,
            "__doc__": function.__doc__,
            "__module__": function.__module__,
        }
        made = type(function.__name__, (Primer,), {**body, **attributes, "declared_by": function})
        primer = registry.register(made)
        if primer is None:
            raise DeclarationError(f"@cached {name!r}: {registry.broken[-1].error}")

        def key(*args: P.args, **kwargs: P.kwargs) -> Key:
            bound = signature.bind(*args, **kwargs)
            return primer.build_key(**bound.arguments)

        @functools.wraps(function)
        def ask(*args: P.args, **kwargs: P.kwargs) -> R:
            from .cache.facade import Cache  # the cache needs the app registry; declarations do not

            cache, asked = Cache.get_instance(), key(*args, **kwargs)
            result: R = cache.aget(asked) if inspect.iscoroutinefunction(function) else cache.get(asked)  # type: ignore[assignment]
            return result

        ask.primer, ask.key, ask.uncached = primer, key, function  # type: ignore[attr-defined]
        return ask

    return decorate


def updates(
    *targets: str,
    key: Callable[..., Any] | None = None,
    then: Literal["stale", "refresh"] = "stale",
    using: str | None = None,
) -> Any:
    """Declare a function that changes data: it runs in a transaction, and what it changed is woken with the
    commit.

    Args:
        targets: Key bases of the products it changes.
        key: ``key(result, *args, **kwargs)`` returns a key, a dict of parameters, None, or a list of these;
            where not given, parameters named like the function's arguments are filled in, and the rest of the
            family is meant.
        then: ``"stale"``: not served any more. ``"refresh"``: served as stale while a refresh is wanted.
        using: Alias of the transaction; that of the first target's products where not given.
    """
    if not targets or any(not isinstance(target, str) for target in targets):
        raise DeclarationError(
            '@updates takes the key bases that the function changes: @updates("author_page").'
        )
    if then not in ("stale", "refresh"):
        raise DeclarationError(f"@updates: then must be 'stale' or 'refresh', not {then!r}.")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(function):
            raise DeclarationError(
                f"@updates: {function.__qualname__} is async, and a transaction is not: "
                "declare a sync function and call it with sync_to_async."
            )
        signature = inspect.signature(function)

        @functools.wraps(function)
        def write(*args: P.args, **kwargs: P.kwargs) -> R:
            from .changes import wake

            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            result: R = wake.run(function, targets, key, then, using, args, kwargs, dict(bound.arguments))
            return result

        write.updates = targets  # type: ignore[attr-defined]
        return write

    return decorate


class Action(Primer):
    """A scheduled function: a slot without a product worth reading. Made by ``@scheduled``.

    Attributes:
        overlap: What a period does while the one before still runs: ``skip``, ``queue`` or ``parallel``.
    """

    overlap: Literal["skip", "queue", "parallel"] = "skip"
    function: Callable[[], Any]

    def compute(self, key: Key) -> Any:
        result = type(self).function()
        return _awaited(result) if inspect.iscoroutine(result) else _plain(result)


def _plain(result: Any) -> Any:
    """Return what an action returned as something to be kept: it says what it did, to people."""
    return result if isinstance(result, (int, float, str, bool, list, dict, type(None))) else str(result)


async def _awaited(result: Coroutine[Any, Any, Any]) -> Any:
    return _plain(await result)


def scheduled(
    when: Any,
    *,
    name: str | None = None,
    overlap: Literal["skip", "queue", "parallel"] = "skip",
    **attributes: Any,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run a function on a schedule, each period once, however many workers there are.

    Args:
        when: ``every(...)``, ``cron(...)``, a timedelta or a dateutil rrule.
        name: Its key base, ``module.function`` where not given (``kck runs NAME`` shows what it did).
        overlap: ``"skip"``: periods that come while it runs are left out; ``"queue"``: they run after one
            another; ``"parallel"``: they run beside one another.
        attributes: Attributes of a primer: ``catchup``, ``retries``, ``backoff``, ``compute_limit``,
            ``priority`` …
    """
    schedule = as_schedule(when)
    if overlap not in ("skip", "queue", "parallel"):
        raise DeclarationError(f"@scheduled: overlap must be 'skip', 'queue' or 'parallel', not {overlap!r}.")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = name or f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")
        _known(f"@scheduled {own!r}", attributes)
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise DeclarationError(
                f"@scheduled {own!r}: it is called without arguments ({error}); give them defaults."
            ) from None
        attributes.setdefault("catchup", {"skip": "coalesce", "queue": "all", "parallel": "all"}[overlap])
        parameters = [DateTimeParameter("period", default=None)] if overlap == "parallel" else []
        body = {
            "key_base": own,
            "schedule": schedule,
            "overlap": overlap,
            "function": staticmethod(function),
            "parameters": parameters,
            "domain": [{}],
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "declared_by": function,
            **attributes,
        }
        registry.register(type(function.__name__, (Action,), body))
        function.action = own  # type: ignore[attr-defined]
        return function

    return decorate
