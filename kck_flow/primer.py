"""Primer: compute, augment, how long the product stays fresh.

A primer is a declaration: plain Python, no table, no clock. Subclass it in an app's ``primers.py``.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from . import key as keys
from .codec import JSON, Codec
from .entry import Change
from .errors import DeclarationError
from .key import Key
from .parameter import Parameter, parameters
from .schedule import Schedule, as_schedule

if TYPE_CHECKING:
    from django.db.models import Model

    from .entry import Entry

Then = Literal["stale", "refresh", "augment"]
THEN: Final = ("stale", "refresh", "augment")
CATCHUP: Final = ("coalesce", "all", "skip")
HOOK_ERRORS: Final = ("abort", "log", "retry")
LANES: Final = range(10)  # a refresh's place in the queue, the lowest first
HOOKS: Final = ("prime", "set", "unset", "refresh", "augment", "write")
# What every clock, interval and timeout on the way can still hold.
LONGEST: Final = timedelta(days=36_525)
LARGEST: Final = 2**31 - 1


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final[Any] = _Unset()


class On:
    """An edge: what a product depends on, and what a change of it does.

    Args:
        source: A model class or ``"app_label.Model"``; a key base, a key or a primer class for a product.
        key: Which of the declaring primer's products a change belongs to: the name of the column (or upstream
            parameter) that holds its only parameter; a dict of parameter to column; a function of the
            ``Change`` that returns a key, a dict of parameters, None, or a list of these. Without one:
            parameters of the same name of an upstream product; the only product of a primer without
            parameters; else the whole family.
        then: ``"stale"`` (not served any more; computed when next asked for), ``"refresh"`` (served as stale
            while a refresh is wanted) or ``"augment"`` (folded in by the primer's ``augment``).
        fields: Columns of a model to watch and to hand to ``augment``; all concrete ones where not given.
    """

    def __init__(
        self,
        source: Any,
        *,
        key: str | Mapping[str, str] | Callable[[Change], Any] | None = None,
        then: Then = "stale",
        fields: Sequence[str] | None = None,
    ) -> None:
        if then not in THEN:
            raise DeclarationError(f"On({source!r}): then must be one of {', '.join(THEN)}, not {then!r}.")
        if isinstance(fields, str):
            raise DeclarationError(
                f"On({source!r}): fields is a list of column names, not the text {fields!r}."
            )
        self.source = source
        self.key = key
        self.then: Then = then
        self.fields = tuple(fields) if fields is not None else None

    def __repr__(self) -> str:
        name = getattr(self.source, "__name__", self.source)
        return f"On({name!r}, then={self.then!r})"

    def keys(self, primer: Primer, change: Change) -> Iterable[tuple[Key | None, Change]]:
        """Yield each product that ``change`` belongs to, with the side of the change that is its own.

        None instead of a key is the whole family. When both sides of a row belong to one product, it gets the
        change whole; a row moved from one product to another reaches both, each with its own side.

        Raises:
            InvalidKey: the mapping returned something that is no key of the primer.
        """
        if callable(self.key):
            for one in listed(self.key(change)):
                if one is not None:
                    yield as_key(primer, one), change
            return
        if change.key is not None:
            mapped = self._mapped(primer, _params_of(change))
            yield (primer.build_key(**mapped) if mapped is not None else None), change
            return
        sides: dict[Key | None, list[Any]] = {}
        for index, row in enumerate((change.old, change.new)):
            if row is None:
                continue
            mapped = self._mapped(primer, row)
            if mapped is not None and any(value is None for value in mapped.values()):
                continue  # a row that names no product (a NULL foreign key) belongs to none
            key = primer.build_key(**mapped) if mapped is not None else None
            sides.setdefault(key, [None, None])[index] = row
        for key, (old, new) in sides.items():
            yield key, Change(change.id, change.source, change.key, old, new, change.at)

    def _mapped(self, primer: Primer, upstream: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the parameters of the downstream key, or None for the whole family."""
        if not primer.parameters:
            return {}
        if isinstance(self.key, str):
            return {primer.parameters[0].name: upstream[self.key]}
        if isinstance(self.key, Mapping):
            return {name: upstream[column] for name, column in self.key.items()}
        names = [parameter.name for parameter in primer.parameters]
        if self.is_product() and names and all(name in upstream for name in names):
            return {name: upstream[name] for name in names}
        return None

    def is_product(self) -> bool:
        """Whether the source is a product (known once the registry has resolved it)."""
        return self.source_base is not None

    # Filled in by the registry, which alone knows models and primers.
    model: type[Model] | None = None
    source_base: str | None = None


class Primer:
    """A family of products: how they are named, computed, kept fresh and told what changed.

    Subclasses set the attributes and define ``compute(self, key)``; every attribute has the default shown.
    """

    # The name
    key_base: ClassVar[str] = ""
    key: ClassVar[str] = ""  # a synonym of key_base
    key_bases: ClassVar[Sequence[str]] = ()
    parameters: Any = ()

    # For people
    label: Any = ""
    description: Any = ""
    unit: Any = ""
    unit_plural: Any = ""
    good: Literal["up", "down", "neither"] = "neither"
    goal: Any = None

    # How long it stays fresh. Durations are timedeltas; None is never.
    version: int = 1
    soft_expire: timedelta | None = None
    hard_expire: timedelta | None = None
    negative_expire: timedelta | None = UNSET
    always_fresh: bool = False
    stale_if_error: timedelta = timedelta(0)
    jitter: float = 0.1
    wait: timedelta | None = None
    compute_limit: timedelta | None = None
    prime_on_cache_miss: bool = True

    # When it is refreshed
    schedule: Any = None
    domain: Any = None
    catchup: Literal["coalesce", "all", "skip"] = "coalesce"
    autostart: bool = True
    retries: int = 3
    backoff: timedelta = timedelta(seconds=1)
    backoff_cap: timedelta = timedelta(minutes=5)
    park_after: int = 20
    priority: int = 5
    max_concurrency: int | None = None
    min_gap: timedelta = timedelta(0)

    # What is kept
    keep_history: bool = False
    retention: timedelta | None = None
    max_entries: int | None = None

    # What it hangs on
    depends_on: Sequence[On] = ()
    capture: Literal["signals"] = "signals"
    database: str | None = None

    # How it is shown and kept
    permission: Any = None
    columns: Sequence[str] | None = None
    codec: Any = JSON
    hook_errors: Literal["abort", "log", "retry"] = "abort"

    def __init__(self) -> None:
        self.key_base_list: tuple[str, ...] = names_of(type(self))
        self.parameters: tuple[Parameter[Any], ...] = parameters(type(self).parameters)
        when = type(self).schedule
        self.schedule: Schedule | None = as_schedule(when) if when is not None else None
        declared = self.depends_on if isinstance(self.depends_on, (list, tuple)) else ()
        # What is no edge is told by the checks; it must not stop the saving of rows and the other primers.
        self.depends_on = edges = tuple(on for on in declared if isinstance(on, On))
        # Whether changes are folded into the products.
        self.augments = any(on.then == "augment" for on in edges)
        # Whether a read must look for changes on their way: something declared may have written some.
        self.probes = bool(edges)

    # -- what a declaration defines
    # -----------------------------------------------------------------------------

    def compute(self, key: Key) -> Any:
        """Return the product of ``key`` from its sources. May be ``async def``."""
        raise NotImplementedError(f"{type(self).__name__} does not define compute(self, key).")

    def augment(self, key: Key, value: Any, changes: Sequence[Change]) -> Any:
        """Return the product after ``changes``: a pure function, equal to computing afresh.

        Changes of one row come in order, those of different rows in any order.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not define augment(self, key, value, changes)."
        )

    # -- hooks; each is mirrored by a Django signal of the same name in kck_flow.signals
    # ---------------------------

    def pre_prime(self, key: Key) -> None: ...
    def post_prime(self, key: Key, entry: Entry, old: Any) -> None: ...
    def pre_refresh(self, key: Key) -> None: ...
    def post_refresh(self, key: Key, entry: Entry, old: Any) -> None: ...
    def pre_set(self, key: Key, value: Any) -> None: ...
    def post_set(self, key: Key, entry: Entry, old: Any) -> None: ...
    def pre_unset(self, key: Key) -> None: ...
    def post_unset(self, key: Key, old: Any) -> None: ...
    def pre_augment(self, key: Key, changes: Sequence[Change]) -> None: ...
    def post_augment(self, key: Key, entry: Entry, old: Any) -> None: ...
    def pre_write(self, key: Key, value: Any) -> None: ...
    def post_write(self, key: Key, entry: Entry, old: Any) -> None: ...
    def post_record(self, key: Key, record: Any) -> None: ...

    # -- what a declaration may call
    # --------------------------------------------------------------------------------

    def key_to_param_dict(self, key: str) -> dict[str, Any]:
        """Return the typed parameters of ``key`` (text or Key) by name."""
        return dict(self.parse_key(key).params)

    def build_key(self, **params: Any) -> Key:
        """Return this primer's canonical key for the parameters, defaults filled in. Raises InvalidKey."""
        return keys.build(self.name, self.parameters, params)

    def parse_key(self, text: str) -> Key:
        """Return the canonical key that ``text`` spells. Raises InvalidKey."""
        if isinstance(text, Key):
            return text
        return keys.parse(text, self.parameters)

    # -- what the rest of the package asks
    # --------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The primer's (first) key base."""
        return self.key_base_list[0] if self.key_base_list else type(self).__name__

    @property
    def text(self) -> str:
        """Label for people: ``label``, else the first line of the docstring, else the name."""
        # Of a ready-made primer's subclass without words of its own, what the ready-made one says.
        own = (base for base in type(self).__mro__[:-1] if not base.__module__.startswith("kck_flow."))
        doc = next((base.__doc__.strip() for base in own if base.__doc__), "")
        return str(self.label or doc.partition("\n")[0].rstrip(".") or self.name)

    def expiry(self, value: Any) -> tuple[timedelta | None, timedelta | None]:
        """Return (soft, hard) durations for ``value``; a None result has its own, ``negative_expire``."""
        if value is None and self.negative_expire is not UNSET:
            return None, self.negative_expire
        return self.soft_expire, self.hard_expire

    def wait_seconds(self, default: float) -> float:
        """Return how long a reader waits on a miss, in seconds."""
        return self.wait.total_seconds() if self.wait is not None else default

    def domain_keys(self) -> list[Key]:
        """Return the keys that the schedule keeps warm, duplicates removed, in order.

        ``domain`` may be a method or a value: keys, dicts of parameters, or (with one parameter) its values.
        Where it is the key of a product that holds such a list, the worker reads that (``refresh.plan``).
        """
        if not self.parameters and self.domain is None:
            return [self.build_key()]
        listed = self.domain() if callable(self.domain) else self.domain
        if listed is None:
            return []
        return list(dict.fromkeys(as_key(self, one) for one in listed))

    def upcoming(
        self, key: Key, nominal: datetime | None, now: datetime | None
    ) -> tuple[datetime | None, datetime | None]:
        """Return (due, nominal) of the next scheduled refresh after one that ended or failed at ``now``.

        Args:
            nominal: The schedule's instant that the slot was waiting for; None for one that is not scheduled.
            now: When the refresh ended. An instant that has not come yet is still to be served.

        Periods do not drift: the next instant follows from the nominal one (``catchup = "all"``) or is the
        first that lies ahead (``coalesce``, ``skip``), never from when the work happened to end, unless
        the schedule is anchored there.
        """
        if self.schedule is None or nominal is None or now is None:
            return None, None
        if nominal > now:
            return self.schedule.jittered(nominal, key), nominal
        if self.schedule.anchor == "finish":
            following = self.schedule.next(now)
        else:
            following = self.schedule.next(nominal if self.catchup == "all" else max(now, nominal))
        return (self.schedule.jittered(following, key), following) if following is not None else (None, None)

    def schedule_digest(self) -> str:
        """Return what tells this primer's schedule from another, empty for none."""
        return self.schedule.digest() if self.schedule is not None else ""

    def where(self) -> str:
        """Return ``file:line`` of the declaration."""
        return where(type(self))


def names_of(primer: type[Primer]) -> tuple[str, ...]:
    """Return a primer class's key bases: ``key_base`` (or ``key``) and ``key_bases``; none for an abstract
    one.
    """
    several = getattr(primer, "key_bases", ()) or ()
    names = [
        getattr(primer, "key_base", "") or getattr(primer, "key", ""),
        *(several if isinstance(several, (list, tuple)) else [several]),
    ]
    # Not by their hash: what is no text may have none.
    return tuple(name for place, name in enumerate(names) if name and name not in names[:place])


def where(declared: Any) -> str:
    """Return ``file:line`` of a class or function, or its module where the source cannot be found."""
    declared = getattr(declared, "declared_by", declared)
    declared = inspect.unwrap(declared) if callable(declared) else declared
    try:
        return f"{inspect.getsourcefile(declared)}:{inspect.getsourcelines(declared)[1]}"
    except (OSError, TypeError):
        return getattr(declared, "__module__", "?")


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
        ("capture", ("signals",)),
    ):
        if getattr(primer, name) not in allowed:
            wrong(f"{name} is {getattr(primer, name)!r}", f"Give one of: {', '.join(allowed)}.")
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
        if getattr(primer, name) is getattr(Primer, name):
            continue
        names = list(inspect.signature(getattr(Primer, name)).parameters)
        hint = f"It is called with the arguments of {name}({', '.join(names)})."
        try:
            signature = inspect.signature(getattr(object.__new__(primer), name))
        except ValueError:  # written in C, and does not say what it takes
            continue
        except Exception:
            yield f"{name} is {inspect.getattr_static(primer, name)!r}", hint
            continue
        given = dict.fromkeys(names[1:])
        try:
            if name in ("compute", "augment"):
                signature.bind(*given)
            else:
                signature.bind(given.pop("key"), **given)
        except TypeError:
            yield f"{name} takes {inspect.signature(getattr(primer, name))}", hint
    if callable(primer.domain) and not _takes(object.__new__(primer).domain):
        yield "domain cannot be called without arguments", "Define domain(self)."


def _takes(function: Any, *given: Any) -> bool:
    """Whether a function can be called so, as far as it tells what it takes."""
    try:
        inspect.signature(function).bind(*given)
    except TypeError:
        return False
    except ValueError:  # written in C
        return True
    return True


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


def is_duration(value: Any) -> bool:
    """Whether this is a timedelta that can be counted from now: zero or more, a hundred years at most."""
    return isinstance(value, timedelta) and timedelta(0) <= value <= LONGEST


def is_whole(value: Any, least: int, most: int) -> bool:
    """Whether this is a whole number within bounds. True is an int to Python; as a number it is a mistake."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def misspelt(primer: type[Primer]) -> list[tuple[str, str]]:
    """Return the attributes of a primer class that are none but look like one, each with the one it looks
    like.
    """
    own = dict.fromkeys(name for base in primer.__mro__ if base not in Primer.__mro__ for name in vars(base))
    return [(name, meant) for name in own if not hasattr(Primer, name) and (meant := nearest(name))]


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
    elif callable(on.key) and not _takes(on.key, None):
        yield f"{on!r}: key cannot be called with a change", "Give a function of the change."
    elif on.key is not None and not isinstance(on.key, str) and not callable(on.key):
        yield (
            f"{on!r}: key is {on.key!r}",
            "Give a column, a dict of parameter to column, or a function of the change.",
        )


def as_key(primer: Primer, one: Any) -> Key:
    """Return the key that ``one`` means: a key, a dict or tuple of parameters, or the only parameter's value."""
    if isinstance(one, Key):
        return one
    if isinstance(one, Mapping):
        return primer.build_key(**one)
    if isinstance(one, str) and (keys.base_of(one) in primer.key_base_list):
        return primer.parse_key(one)
    if isinstance(one, (tuple, list)):
        return primer.build_key(**dict(zip((p.name for p in primer.parameters), one, strict=True)))
    if len(primer.parameters) == 1:
        return primer.build_key(**{primer.parameters[0].name: one})
    from .errors import InvalidKey

    raise InvalidKey(
        f"{one!r} is no key of {primer.name!r}: give a key or a dict of parameters, as in "
        f"{keys.usage(primer.name, primer.parameters)}."
    )


def listed(found: Any) -> Iterable[Any]:
    """Return what a mapping gave as a list: one thing, or many."""
    if found is None or isinstance(found, (str, Mapping)):
        return [found]
    try:
        return list(found)
    except TypeError:
        return [found]


def _params_of(change: Change) -> Mapping[str, Any]:
    return getattr(change.key, "params", {})
