"""The writer's side of ``@updates``: a function and the marks of what it changed, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import transaction

from .. import clock, spread
from ..errors import InvalidKey
from ..key import Key
from ..primer import Primer, as_key, listed
from ..registry import registry
from ..store import pending, products
from ..store.session import caller
from ..storing import args_of


def run(
    function: Callable[..., Any],
    targets: Sequence[str],
    key: Callable[..., Any] | None,
    then: str,
    using: str | None,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    bound: dict[str, Any],
) -> Any:
    """Run a writing function and append the marks of its targets. Raises what it raises; then nothing has
    happened.
    """
    primers = [registry.primer(target) for target in targets]
    alias = using or spread.alias_of(primers[0])
    with transaction.atomic(using=alias):
        result = function(*args, **kwargs)
        reason = f"{function.__module__}.{function.__qualname__}"
        for primer in primers:
            for one, partial in _targets(primer, key, result, args, kwargs, bound):
                _mark(alias, primer, one, partial, then, reason)
    return result


def _targets(
    primer: Primer,
    key: Callable[..., Any] | None,
    result: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    bound: dict[str, Any],
) -> list[tuple[Key | None, dict[str, Any] | None]]:
    if key is not None:
        return [
            (as_key(primer, one), None) for one in listed(key(result, *args, **kwargs)) if one is not None
        ]
    known = {}
    for parameter in primer.parameters:
        if bound.get(parameter.name) is not None:
            try:
                known[parameter.name] = parameter.clean(bound[parameter.name])
            except (ValueError, TypeError) as error:
                raise InvalidKey(f"{primer.name!r}: {parameter.name} {error}.") from None
    if len(known) == len(primer.parameters):
        return [(primer.build_key(**known), None)]
    return [(None, {p.name: p.to_json(known[p.name]) for p in primer.parameters if p.name in known} or None)]


def _mark(
    alias: str, primer: Primer, key: Key | None, partial: dict[str, Any] | None, then: str, reason: str
) -> None:
    session = caller(alias)
    if then == spread.STALE:
        # The entry itself, too: a primer that declares no sources is read without looking for marks.
        if key is not None:
            products.invalidate(session, key, args_of(primer, key))
        else:
            products.invalidate_family(session, primer.name, partial)
    elif key is not None:
        products.soften(session, [key.digest])
    else:
        products.soften_family(session, primer.name, partial)
    pending.append(session, [pending.Mark(primer.name, then, key, partial, source=reason, reason=reason)])
    if then == spread.STALE and key is not None:
        spread.below(session, key, at=clock.now(), reason=reason)
    elif then == spread.STALE:
        spread.from_family(session, primer.name, at=clock.now(), reason=reason)
