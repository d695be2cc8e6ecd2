"""Primer: compute, augment, how long the product stays fresh.

A primer is a declaration: plain Python, no table, no clock. Subclass it in an app's ``primers.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from . import key as keys
from .codec import JSON
from .entry import Change
from .errors import DeclarationError
from .key import Key
from .parameter import Parameter, parameters
from .schedule import Schedule, as_schedule
from .tabled import rows_of

if TYPE_CHECKING:
    from django.db.models import Model

    from .entry import Entry

Then = Literal["stale", "refresh", "augment"]
THEN: Final = ("stale", "refresh", "augment")
NUMBER_FORMATS: Final = ("number", "percent", "duration", "bytes")
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
    number_format: Literal["number", "percent", "duration", "bytes"] = "number"
    precision: int | None = None
    section: Any = ""

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
    capture: Any = "triggers"
    _captures: ClassVar[tuple[Any, ...]] = ("triggers", "signals")
    # Arguments of ``compute`` that one may be defined without.
    _spares: ClassVar[tuple[str, ...]] = ()
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
        # Whether JSON over HTTP is made of the value: else it is what is stored.
        self.shows_otherwise = type(self).to_json is not Primer.to_json

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

    def to_json(self, key: Key, value: Any) -> Any:
        """Return what stands for ``value`` in JSON over HTTP: dicts, lists and scalars. By default, itself."""
        return value

    def to_csv(self, key: Key, value: Any) -> Iterable[Sequence[Any]]:
        """Return the rows of ``value`` as CSV, the header first, where there is one.

        By default, of a list of dicts its rows, of a dict key and value, of a scalar one cell; under the names of
        ``columns`` where they are declared.
        """
        return rows_of(value, self.columns)

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
        first = doc.partition("\n")[0].rstrip(".").replace("``", "")
        return str(self.label or first or self.name)

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

    def product_of(self, key: Key, at: datetime) -> Any:
        """Return what is stored under ``key``: what ``compute`` returns; of a metric, of the period around ``at``."""
        return self.compute(key)

    def storable(self, key: Key, value: Any) -> Any:
        """Return a computed value as it is stored. Raises UnstorableValue: it cannot be this primer's."""
        return value

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
    if isinstance(place := getattr(declared, "declared_at", None), str):
        return place  # in a file that is no module
    declared = getattr(declared, "declared_by", declared)
    declared = inspect.unwrap(declared) if callable(declared) else declared
    try:
        return f"{inspect.getsourcefile(declared)}:{inspect.getsourcelines(declared)[1]}"
    except (OSError, TypeError):
        return getattr(declared, "__module__", "?")


def is_duration(value: Any) -> bool:
    """Whether this is a timedelta that can be counted from now: zero or more, a hundred years at most."""
    return isinstance(value, timedelta) and timedelta(0) <= value <= LONGEST


def is_whole(value: Any, least: int, most: int) -> bool:
    """Whether this is a whole number within bounds. True is an int to Python; as a number it is a mistake."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def takes(function: Any, *given: Any) -> bool:
    """Whether a function can be called so, as far as it tells what it takes."""
    try:
        inspect.signature(function).bind(*given)
    except TypeError:
        return False
    except ValueError:  # written in C
        return True
    return True


def as_key(primer: Primer, one: Any) -> Key:
    """Return the key that ``one`` means: a key, a dict or tuple of parameters, or the only parameter's value."""
    if isinstance(one, Key) and one.key_base in primer.key_base_list:
        return one
    if isinstance(one, Mapping):
        return primer.build_key(**one)
    if isinstance(one, str) and (keys.base_of(one) in primer.key_base_list):
        return primer.parse_key(one)
    if isinstance(one, (tuple, list)):
        return primer.build_key(**dict(zip((p.name for p in primer.parameters), one, strict=True)))
    if len(primer.parameters) == 1 and not isinstance(one, Key):  # a key is no parameter's value
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
