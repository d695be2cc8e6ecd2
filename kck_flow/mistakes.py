"""What is wrong with a primer's declaration by itself, in words: what it is, and what to write instead.

The checks tell it, with file and line, before the first request; so do the functions that make primers.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from . import key as keys
from .codec import Codec
from .errors import DeclarationError
from .parameter import Parameter, parameters
from .primer import (
    CATCHUP,
    HOOK_ERRORS,
    HOOKS,
    LANES,
    LARGEST,
    UNSET,
    On,
    Primer,
    is_duration,
    is_whole,
    names_of,
    takes,
)
from .schedule import as_schedule


def problems(primer: type[Primer]) -> list[tuple[str, str]]:
    """Return what is declared wrongly in a primer class, as (what is wrong, what to do); the checks show it."""
    found: list[tuple[str, str]] = []

    def wrong(what: str, hint: str) -> None:
        found.append((what, hint))

    for name in names_of(primer):
        if not isinstance(name, str) or not keys.KEY_BASE.match(name):
            wrong(
                f"key_base {name!r} is no name",
                "Use up to 100 letters, digits, '_', '.', ':' and '-', beginning with a letter or '_'.",
            )
    if isinstance(primer.key_bases, str):
        wrong(f"key_bases is {primer.key_bases!r}", "Give a list of names, even of one.")
    if primer.key_base and primer.key and primer.key != primer.key_base:
        wrong(
            f"key is {primer.key!r} and key_base {primer.key_base!r}",
            "Both mean the name: keep one. More names go into key_bases.",
        )
    if primer.compute is Primer.compute:
        wrong("it has no compute(self, key)", "Define compute(self, key) and return the product.")
    declared: tuple[Parameter[Any], ...] = ()
    # A set has no order, and a generator ends.
    if not isinstance(primer.parameters, (list, tuple)):
        wrong(f"parameters is {primer.parameters!r}", "Give a list of parameters, even of one.")
    else:
        try:
            declared = parameters(primer.parameters)
        except DeclarationError as error:
            wrong(
                str(error).rstrip("."),
                'Give a list, as in [IntegerParameter("author")] or [{"name": "author", "from_str": int}].',
            )
    required_after = [
        p.name
        for i, p in enumerate(declared)
        if not p.has_default and any(q.has_default for q in declared[:i])
    ]
    if required_after:
        wrong(
            f"parameter {required_after[0]!r} has no default but follows one that has",
            "Put required parameters first.",
        )
    for parameter in declared:
        if parameter.name in ("self", "key_base"):
            wrong(
                f"a parameter is named {parameter.name!r}",
                "build_key has an argument of that name: rename the parameter.",
            )
    found.extend(_methods(primer))
    found.extend(_numbers(primer))
    for name, allowed in (
        ("catchup", CATCHUP),
        ("hook_errors", HOOK_ERRORS),
        ("good", ("up", "down", "neither")),
        ("capture", primer._captures),
    ):
        if getattr(primer, name) not in allowed:
            wrong(f"{name} is {getattr(primer, name)!r}", f"Give one of: {', '.join(map(str, allowed))}.")
    for name in ("always_fresh", "prime_on_cache_miss", "autostart", "keep_history"):
        if not isinstance(getattr(primer, name), bool):
            wrong(f"{name} is {getattr(primer, name)!r}", "Give True or False.")
    if isinstance(primer.codec, type) or not isinstance(primer.codec, Codec):
        wrong(
            f"codec is {primer.codec!r}",
            "Give a codec, such as SignedPickle(); see 'Values' in the reference.",
        )
    if primer.database is not None and not isinstance(primer.database, str):
        wrong(f"database is {primer.database!r}", "Give the alias of a database, or None.")
    columns: Any = primer.columns
    if columns is not None and not (
        isinstance(columns, (list, tuple)) and all(isinstance(one, str) for one in columns)
    ):
        wrong(f"columns is {columns!r}", "Give a list of names, or None.")
    try:
        schedule = as_schedule(primer.schedule) if primer.schedule is not None else None
    except (ValueError, TypeError) as error:
        wrong(
            f"schedule: {str(error).rstrip('.')}",
            "Use every(minutes=5), cron('0 6 * * *', tz=...) or a dateutil rrule.",
        )
        schedule = None
    if schedule is not None and primer.domain is None and any(not p.has_default for p in declared):
        wrong(
            "it has a schedule and parameters, but no domain",
            "Define domain(self): the keys that the schedule keeps warm.",
        )
    # A generator ends, and the schedule walks its domain again and again.
    if not callable(primer.domain) and (
        not isinstance(primer.domain, (Iterable, type(None))) or isinstance(primer.domain, Iterator)
    ):
        wrong(
            f"domain is {primer.domain!r}",
            "Give a method, a list (of keys, of dicts of parameters, of values) or the key of a product that is one.",
        )
    if primer.always_fresh and (schedule is not None or primer.depends_on):
        wrong(
            "always_fresh has no use for a schedule or depends_on",
            "Each read computes; remove one of the two.",
        )
    if not isinstance(primer.depends_on, (list, tuple)) or not all(
        isinstance(on, On) for on in primer.depends_on
    ):
        wrong(f"depends_on is {primer.depends_on!r}", "Give a list of On(...).")
    else:
        for on in primer.depends_on:
            found.extend(_edge_problems(primer, declared, on))
        if any(on.then == "augment" for on in primer.depends_on) and primer.augment is Primer.augment:
            wrong(
                'an edge says then="augment", but there is no augment',
                "Define augment(self, key, value, changes).",
            )
    return found


def _methods(primer: type[Primer]) -> Iterable[tuple[str, str]]:
    """What is defined in place of a method and cannot be called as that."""
    for name in (
        "compute",
        "augment",
        *(f"{when}_{what}" for what in HOOKS for when in ("pre", "post")),
        "post_record",
    ):
        # As the kind of primer has it: a time frame's compute gets the items, too.
        ours = next(base for base in primer.__mro__ if _is_ours(base) and name in vars(base))
        if getattr(primer, name) is getattr(ours, name):
            continue
        names = list(inspect.signature(getattr(ours, name)).parameters)
        hint = f"It is called with the arguments of {name}({', '.join(names)})."
        try:
            signature = inspect.signature(getattr(object.__new__(primer), name))
        except ValueError:  # written in C, and does not say what it takes
            continue
        except Exception:
            yield f"{name} is {inspect.getattr_static(primer, name)!r}", hint
            continue
        given = dict.fromkeys(names[1:])
        # A metric that measures what is now takes no period.
        least = [one for one in given if name != "compute" or one not in primer._spares]
        try:
            if name in ("compute", "augment"):
                signature.bind(*(least if len(signature.parameters) <= len(least) else given))
            else:
                signature.bind(given.pop("key"), **given)
        except TypeError:
            yield f"{name} takes {inspect.signature(getattr(primer, name))}", hint
    if callable(primer.domain) and not takes(object.__new__(primer).domain):
        yield "domain cannot be called without arguments", "Define domain(self)."


def _is_ours(base: type) -> bool:
    return base.__module__.partition(".")[0] == __package__


def _numbers(primer: type[Primer]) -> Iterable[tuple[str, str]]:
    """Durations and whole numbers that are none, or out of their range."""
    for name in ("soft_expire", "hard_expire", "negative_expire", "wait", "compute_limit", "retention"):
        value = getattr(primer, name)
        if value is not None and value is not UNSET and not is_duration(value):
            yield (
                f"{name} is {value!r}",
                "Give a timedelta of zero or more, a hundred years at most, or None"
                + (" for never." if name.endswith("expire") else "."),
            )
    for name in ("stale_if_error", "backoff", "backoff_cap", "min_gap"):
        value = getattr(primer, name)
        if not is_duration(value):
            yield f"{name} is {value!r}", "Give a timedelta of zero or more, a hundred years at most."
    soft, hard = primer.soft_expire, primer.hard_expire
    if isinstance(soft, timedelta) and isinstance(hard, timedelta) and soft > hard:
        yield (
            f"soft_expire ({soft}) is later than hard_expire ({hard})",
            "A value goes stale before it goes: swap them.",
        )
    for name, least, most in (
        ("priority", LANES[0], LANES[-1]),
        ("version", 1, LARGEST),
        ("retries", 0, LARGEST),
        ("park_after", 1, LARGEST),
        ("max_concurrency", 1, LARGEST),
        ("max_entries", 1, LARGEST),
    ):
        value = getattr(primer, name)
        bound = name.startswith("max_")
        if not (is_whole(value, least, most) or (bound and value is None)):
            yield (
                f"{name} is {value!r}",
                f"Give a whole number from {least} to {most}" + (", or None for no bound." if bound else "."),
            )
    jitter: Any = primer.jitter
    if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter <= 1:
        yield f"jitter is {jitter!r}", "Give a share between 0 and 1."


def misspelt(primer: type[Primer]) -> list[tuple[str, str]]:
    """Return the attributes of a primer class that are none but look like one, each with the one it looks
    like.
    """
    ours = [base for base in primer.__mro__ if _is_ours(base)]  # Stock, Process, …
    own = dict.fromkeys(name for base in primer.__mro__ if base not in ours for name in vars(base))
    known = {name for base in ours for name in vars(base)}
    return [(name, meant) for name in own if name not in known and (meant := nearest(name))]


def nearest(name: str) -> str | None:
    """Return the attribute of a primer that ``name`` is probably meant to be; the short ones are like too much."""
    known = [one for one in vars(Primer) if len(one) > 5 and not one.startswith("_")]
    near = difflib.get_close_matches(name.removesuffix("_seconds"), known, n=1, cutoff=0.8)
    return near[0] if near else None


def _edge_problems(
    primer: type[Primer], declared: tuple[Parameter[Any], ...], on: On
) -> Iterable[tuple[str, str]]:
    names = [p.name for p in declared]
    if isinstance(on.key, str) and len(declared) != 1:
        yield (
            f"{on!r}: key={on.key!r} fits one parameter and there are {len(declared)}",
            "Give a dict of parameter to column.",
        )
    elif isinstance(on.key, Mapping):
        unknown = [name for name in on.key if name not in names]
        if unknown:
            yield (
                f"{on!r}: key names {unknown[0]!r}, which is no parameter",
                f"The parameters are: {', '.join(names) or 'none'}.",
            )
        unsaid = [p.name for p in declared if not p.has_default and p.name not in on.key]
        if unsaid and not unknown:
            yield (
                f"{on!r}: key does not say where {unsaid[0]!r} comes from",
                "Name a column for each parameter without a default; without a key the whole family is meant.",
            )
    elif callable(on.key) and not takes(on.key, None):
        yield f"{on!r}: key cannot be called with a change", "Give a function of the change."
    elif on.key is not None and not isinstance(on.key, str) and not callable(on.key):
        yield (
            f"{on!r}: key is {on.key!r}",
            "Give a column, a dict of parameter to column, or a function of the change.",
        )
