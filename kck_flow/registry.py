"""What has been declared: finds each app's ``primers.py``, resolves names and edges.

Subclassing in an app's ``primers.py`` (or a package of that name) registers; importing does not.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import logging
import os
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import router

from . import counting, written
from . import key as keys
from .conf import conf
from .dashboard import Dashboard, idle_options, show_of
from .entry import Change
from .errors import DeclarationError, UnknownPrimer
from .key import Key
from .metric import MetricType
from .primer import On, Primer, names_of, where
from .process import Process
from .stock import Flow, Stock
from .timeframe import TimeFrame
from .tracked import tracked_model

if TYPE_CHECKING:
    from django.db.models import Model

logger = logging.getLogger("kck_flow")

# Parsed keys are remembered: a page asks for the same few again and again. Bounded; cleared when full.
PARSED_KEYS = 20_000


@dataclass
class Broken:
    """A ``primers`` module that could not be imported, or a primer that could not be set up.

    Attributes:
        module: Its name; of a primer, where it is declared (``file:line``).
        declared: The primer, or None for a module.
        place: Where that is (``file:line``), where no trace tells.
    """

    module: str
    error: BaseException
    text: str
    declared: type[Primer] | None = None
    place: str = ""

    def where(self) -> str:
        """Return ``file:line`` of the error: the last line of the module itself, else of what it called."""
        if self.place:
            return self.place
        frames = traceback.extract_tb(self.error.__traceback__)
        own = [one for one in frames if one.filename.endswith(f"{self.module.replace('.', os.sep)}.py")]
        frame = own[-1] if own else frames[-1] if frames else None
        if isinstance(self.error, SyntaxError) and self.error.filename:
            return f"{self.error.filename}:{self.error.lineno}"
        return f"{frame.filename}:{frame.lineno}" if frame is not None else "?"


@dataclass
class Registry:
    """The primers of this process by key base, and the edges between them.

    Attributes:
        primers: key base to primer; a primer that serves several bases stands under each.
        duplicates: (key base, the class that has it, the class refused).
        broken: What could not be imported or set up.
        nameless: Declared without a key base: abstract, or with a misspelt one.
        metric_types: Ways to measure, by name.
        dashboards: By slug.
        on_demand: Primers that are registered when a key of theirs is first mentioned, by key base.
    """

    primers: dict[str, Primer] = field(default_factory=dict)
    duplicates: list[tuple[str, type[Primer], type[Primer]]] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    classes: list[type[Primer]] = field(default_factory=list)
    nameless: list[type[Primer]] = field(default_factory=list)
    metric_types: dict[str, type[MetricType]] = field(default_factory=dict)
    dashboards: dict[str, Dashboard] = field(default_factory=dict)
    on_demand: dict[str, type[Primer]] = field(default_factory=dict)
    # Grows whenever something is registered or withdrawn, so that what was derived is derived again.
    generation: int = 0

    def __post_init__(self) -> None:
        self._parsed: dict[str, Key] = {}
        self._edges: (
            tuple[int, dict[str, list[tuple[Primer, On]]], dict[Any, list[tuple[Primer, On]]]] | None
        ) = None
        self._lock = threading.RLock()
        # Told whenever something is declared or withdrawn.
        self.watchers: list[Callable[[], None]] = []

    # -- declaring
    # ----------------------------------------------------------------------------------------------

    def discover(self) -> None:
        """Import ``primers`` of every installed app and register what each declares, and what its ``primers.toml``
        does; a broken one is remembered.
        """
        from django.apps import apps

        for config in apps.get_app_configs():
            name = f"{config.name}.primers"
            self.register_written(Path(config.path) / written.NAME, name)
            try:
                if find_spec(name) is None:
                    continue
                module = importlib.import_module(name)
            except (Exception, SystemExit) as error:  # whatever it raises is told by the checks, by its name
                self.broken.append(Broken(name, error, traceback.format_exc()))
                logger.error("primers.broken module=%s error=%r", name, error)
                continue
            self.register_module(module)

    def register_written(self, path: Path, module: str) -> None:
        """Register the primers that a file declares, where it is there."""
        if not path.is_file():
            return
        for place, found in written.read(path, module):
            if isinstance(found, Exception):
                name = f"{path.parent.name}/{path.name}"
                self.broken.append(Broken(name, found, str(found), place=place))
                logger.error("primers.broken module=%s error=%r", place, found)
            else:
                self.register(found)

    def register_module(self, module: Any) -> None:
        """Register the primers that ``module`` declares itself (not those that it imports)."""
        seen: set[int] = set()
        for value in list(vars(module).values()):
            own = getattr(value, "__module__", "") or ""
            if not (own == module.__name__ or own.startswith(f"{module.__name__}.")) or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, type) and issubclass(value, Primer):
                if names_of(value):
                    self.register(value)
                else:
                    self.nameless.append(value)
            elif isinstance(value, type) and issubclass(value, MetricType):
                self.metric_types[value.known_as()] = value
            elif isinstance(value, type) and issubclass(value, Dashboard):
                self.register_dashboard(value)

    def register_dashboard(self, declared: type[Dashboard]) -> Dashboard | None:
        """Register one dashboard; one without a slug is a base of others. What is wrong with it, the checks say."""
        if not declared.slug:
            return None
        try:
            made = declared()
        except Exception as error:
            self.broken.append(Broken(where(declared), error, traceback.format_exc()))
            return None
        self.dashboards[declared.slug] = made
        return made

    def wrong_panel(
        self, key_base: str, show: str, options: Mapping[str, Any], params: Collection[str] | None = None
    ) -> dict[str, str]:
        """Return what is wrong with showing a product so: a sentence each, by ``key``, ``show`` or ``options``.

        Args:
            params: The names of the parameters that its dashboard has; None where the key says all.
        """
        primer = self.primers.get(key_base) or self.demand(key_base)
        if primer is None:
            return {"key": self.unknown(key_base)}
        wrong: dict[str, str] = {}
        if params is not None:
            lacks = [one.name for one in primer.parameters if not one.has_default and one.name not in params]
            if lacks:
                wrong["key"] = (
                    f"{key_base!r} needs {', '.join(map(repr, lacks))}, which the dashboard has no parameter for."
                )
        kind = "process" if isinstance(primer, Process) else "frame" if isinstance(primer, TimeFrame) else ""
        try:
            idle = idle_options(show_of(kind, show), options)
        except ValueError as error:
            return wrong | {"show": str(error)}
        facet = options.get("facet")
        if isinstance(facet, str) and "facet" not in idle:
            known = self.facets_of(primer)
            if facet not in known:
                idle["facet"] = (
                    f"{key_base!r} has no facet {facet!r}. Its facets are: {', '.join(known) or 'none'}."
                )
        return wrong | ({"options": " ".join(idle.values())} if idle else {})

    def facets_of(self, primer: Primer) -> list[str]:
        """Return the names of a stock's or flow's facets, of a process those of its parts; none of other products."""
        if isinstance(primer, Process):
            try:
                parts = [one for side in self.parts(primer) for one in side]
            except DeclarationError:
                return []  # told by the checks
        else:
            parts = [primer] if isinstance(primer, (Stock, Flow)) else []
        return list(dict.fromkeys(facet.name for one in parts for facet in one.facets))

    def no_metric_type(self, name: str) -> str:
        """Return the sentence for a type of metric that nobody declares."""
        near = difflib.get_close_matches(str(name), self.metric_types, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"No type of metric is named {name!r}.{hint} Declared: {', '.join(sorted(self.metric_types)) or 'none'}."

    def register(self, declared: type[Primer]) -> Primer | None:
        """Register one primer class. Returns the primer, or None where it cannot be set up (the checks say
        why).
        """
        with self._lock:
            if declared in self.classes:
                return self.primers.get(names_of(declared)[0])
            self.classes.append(declared)
            try:
                primer = declared()
                if "key_base_list" not in vars(primer):
                    raise DeclarationError("its __init__ does not call super().__init__()")
            except Exception as error:
                self.broken.append(Broken(where(declared), error, traceback.format_exc(), declared))
                return None
            if isinstance(primer, Flow):
                primer.ends = functools.partial(self.ends, primer)
            for name in primer.key_base_list:
                if not isinstance(name, str):
                    continue  # no name, say the checks
                if name in self.primers:
                    self.duplicates.append((name, type(self.primers[name]), declared))
                else:
                    self.primers[name] = primer
            self._changed()
            return primer

    def withdraw(self, declared: type[Primer]) -> None:
        """Forget a primer class (tests)."""
        with self._lock:
            self.primers = {
                name: primer for name, primer in self.primers.items() if type(primer) is not declared
            }
            self.classes = [known for known in self.classes if known is not declared]
            self.duplicates = [row for row in self.duplicates if declared not in row[1:]]
            self.broken[:] = [one for one in self.broken if one.declared is not declared]
            self._changed()

    def _changed(self) -> None:
        self.generation += 1
        self._parsed = {}
        self._edges = None
        for watcher in self.watchers:
            watcher()

    # -- asking
    # -------------------------------------------------------------------------------------------------

    def primer(self, key_base: str) -> Primer:
        """Return the primer named ``key_base``. Raises UnknownPrimer, naming the nearest."""
        try:
            return self.primers[key_base]
        except (KeyError, TypeError):
            demanded = self.demand(key_base)
            if demanded is not None:
                return demanded
            raise UnknownPrimer(self.unknown(key_base)) from None

    def demand(self, key_base: str) -> Primer | None:
        """Return a primer that is registered when it is first asked for; None where there is none of that name."""
        declared = self.on_demand.get(str(key_base))
        return self.register(declared) if declared is not None else None

    def unknown(self, key_base: str) -> str:
        """Return the sentence for a base that no primer has."""
        from django.apps import apps

        key_base = str(key_base)  # without the name of its class, where it is a Key
        if not self.primers and not apps.is_installed("kck_flow"):
            return f"No primer is named {key_base!r}: 'kck_flow' is not in INSTALLED_APPS, so none is known."
        near = difflib.get_close_matches(key_base, self.primers, n=1)
        listed = sorted(self.primers)
        shown = ", ".join(repr(name) for name in listed[:12]) + (" …" if len(listed) > 12 else "")
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return f"No primer is named {key_base!r}. {hint}Declared: {shown or 'none'}."

    def key(self, text: str) -> Key:
        """Return the canonical key of ``text``; of a key without a primer, the text as it is. Raises
        InvalidKey.
        """
        if type(text) is Key and text.key_base in self.primers:
            return text
        try:
            found = self._parsed.get(text)
        except TypeError:  # what has no hash is no text
            found = None
        if found is not None:
            return found
        base = keys.base_of(text)
        primer = self.primers.get(base) or self.demand(base)
        if type(text) is Key and text.key_base.startswith(keys.INTERNAL):
            return text
        found = primer.parse_key(str(text)) if primer is not None else keys.general(text)
        if len(self._parsed) >= PARSED_KEYS:
            self._parsed.clear()
        self._parsed[str(text)] = found
        return found

    def stored_key(self, text: str, key_base: str) -> Key:
        """Return the key of a stored row: internal records too."""
        if text.startswith(keys.INTERNAL):
            base, *parts = text.split("/")
            return keys.internal(base[1:], *map(keys.unescape, parts))
        return self.key(text)

    def unique(self) -> list[Primer]:
        """Return every primer once, by name."""
        return [self.primers[name] for name in sorted(self.primers) if self.primers[name].name == name]

    # -- edges
    # --------------------------------------------------------------------------------------------------

    def on_product(self, key_base: str) -> Sequence[tuple[Primer, On]]:
        """Return (downstream primer, edge) for each edge declared on the product family ``key_base``."""
        return self._resolved()[0].get(key_base, ())

    def on_model(self, model: type[Model]) -> Sequence[tuple[Primer, On]]:
        """Return (downstream primer, edge) for each edge declared on ``model`` (proxies count as their
        model).
        """
        return self._resolved()[1].get(model._meta.concrete_model, ())

    def models(self) -> list[type[Model]]:
        """Return the models that some edge is declared on."""
        return list(self._resolved()[1])

    def downstream(
        self, change: Change, edges: Iterable[tuple[Primer, On]]
    ) -> Iterator[tuple[Primer, On, Key | None, Change]]:
        """Yield the products that a change belongs to, with their edge and their side of the change."""
        for primer, on in edges:
            for key, side in self.reached(primer, on, change):
                yield primer, on, key, side

    def reached(self, primer: Primer, on: On, change: Change) -> list[tuple[Key | None, Change]]:
        """Return the products that a change belongs to by one edge; the whole family where its mapping raises.

        Whoever saves a row must not fail because of what is derived from it, and no change may be lost: what
        cannot be told to one product may belong to any.
        """
        try:
            return list(on.keys(primer, change))
        except Exception as error:
            # A product that has become stale without a new value has no sides for a function to look at.
            told = logging.DEBUG if change.old is None and change.new is None else logging.ERROR
            logger.log(told, "mapping.failed family=%s edge=%r error=%r", primer.name, on, error)
            return [(None, change)]

    def _resolved(self) -> tuple[dict[str, list[tuple[Primer, On]]], dict[Any, list[tuple[Primer, On]]]]:
        found = self._edges
        if found is None or found[0] != self.generation:
            with self._lock:
                products: dict[str, list[tuple[Primer, On]]] = defaultdict(list)
                models: dict[Any, list[tuple[Primer, On]]] = defaultdict(list)
                for primer in self.unique():
                    for on in primer.depends_on:
                        try:
                            self.resolve(on)
                        except DeclarationError:
                            continue  # told by the checks; the other edges work
                        if on.model is not None:
                            models[on.model._meta.concrete_model].append((primer, on))
                        elif on.source_base is not None:
                            products[on.source_base].append((primer, on))
                found = self._edges = (self.generation, dict(products), dict(models))
        return found[1], found[2]

    def resolve(self, on: On) -> None:
        """Find out whether an edge's source is a product or a model.

        Raises:
            DeclarationError: it names neither.
        """
        from django.apps import apps
        from django.db.models import Model

        source = on.source
        if isinstance(source, type) and issubclass(source, Model):
            on.model = _with_rows(on, source)
        elif isinstance(source, type) and issubclass(source, Primer):
            if not names_of(source):
                raise DeclarationError(f"{on!r}: {source.__name__} has no key_base.")
            if names_of(source)[0] not in self.primers and source not in self.classes:
                raise DeclarationError(
                    f"{on!r}: {source.__name__} is not registered; subclass it in the primers.py of an app."
                )
            on.source_base = names_of(source)[0]
        elif isinstance(source, str) and keys.base_of(source) in self.primers:
            on.source_base = keys.base_of(source)
        elif isinstance(source, str) and source.count(".") == 1:
            try:
                on.model = _with_rows(on, apps.get_model(source))
            except LookupError:
                raise DeclarationError(
                    f"{on!r}: there is no model {source!r}, and no primer of that name."
                ) from None
        else:
            raise DeclarationError(
                f"{on!r}: {self.unknown(str(source))}"
                if isinstance(source, str)
                else f"{on!r} is no model, key base or primer."
            )

    def ends(self, flow: Flow) -> tuple[list[Stock | None], list[Stock | None], list[Stock]]:
        """Return a flow's sources, its sinks, and the stocks that flows connect with them. Those of a flow that a
        ``ModelTracker`` feeds are states, and connect nothing.

        Raises:
            DeclarationError: one is no stock.
        """
        sources, sinks = self._stocks(flow, "sources"), self._stocks(flow, "sinks")
        known = {stock.name: stock for stock in (*sources, *sinks) if stock is not None}
        groups = []
        for other in self.unique():
            if isinstance(other, Flow) and other is not flow and other.capture != "signals":
                try:
                    found = [*self._stocks(other, "sources"), *self._stocks(other, "sinks")]
                except DeclarationError:
                    continue  # told by the checks
                groups.append({stock.name: stock for stock in found if stock is not None})
        grown = True
        while grown:
            grown = False
            for group in groups:
                if group.keys() & known.keys() and not group.keys() <= known.keys():
                    known.update(group)
                    grown = True
        return sources, sinks, [known[name] for name in sorted(known)]

    def _stocks(self, flow: Flow, which: str) -> list[Stock | None]:
        found: list[Stock | None] = []
        listed = getattr(flow, which)
        if not isinstance(listed, (list, tuple)):
            raise DeclarationError(f"{which} is {listed!r}; give a list of stocks")
        for one in listed:
            name = (
                names_of(one)[0]
                if isinstance(one, type) and issubclass(one, Stock) and names_of(one)
                else one
            )
            primer = self.primers.get(name) if isinstance(name, str) else None
            if one is not None and not isinstance(primer, Stock):
                raise DeclarationError(f"{which} names {one!r}, which is no stock")
            found.append(primer if isinstance(primer, Stock) else None)
        return found

    def parts(self, process: Process) -> tuple[list[Stock], list[Flow]]:
        """Return a process's stocks and flows, in its order.

        Raises:
            DeclarationError: one is none.
        """
        stocks: list[Stock] = []
        flows: list[Flow] = []
        for which, kind, found in (("stocks", Stock, stocks), ("flows", Flow, flows)):
            listed = getattr(process, which)
            if not isinstance(listed, (list, tuple)):
                raise DeclarationError(f"{which} is {listed!r}; give a list of {kind.__name__.lower()}s")
            for one in listed:
                named = isinstance(one, type) and issubclass(one, Primer) and names_of(one)
                name = names_of(one)[0] if named else one
                primer = self.primers.get(name) if isinstance(name, str) else None
                if not isinstance(primer, kind):
                    raise DeclarationError(f"{which} names {one!r}, which is no {kind.__name__.lower()}")
                if primer in found:
                    raise DeclarationError(f"{which} names {primer.name!r} twice")
                found.append(primer)  # type: ignore[arg-type]
        return stocks, flows

    def cycle(self) -> list[str] | None:
        """Return the path of a cycle among declared edges, its first name again at the end; None where there
        is none.
        """
        products = self._resolved()[0]
        below = {base: sorted({primer.name for primer, _ in edges}) for base, edges in products.items()}
        done: set[str] = set()

        def walk(name: str, path: list[str]) -> list[str] | None:
            if name in path:
                return [*path[path.index(name) :], name]
            if name in done:
                return None
            for further in below.get(name, ()):
                found = walk(further, [*path, name])
                if found:
                    return found
            done.add(name)
            return None

        for name in sorted(below):
            found = walk(name, [])
            if found:
                return found
        return None


def _with_rows(on: On, model: type[Model]) -> type[Model]:
    """Return a model whose rows can be watched. Raises DeclarationError for one that has no table of its own."""
    options = getattr(model, "_meta", None)
    if options is None or options.abstract:
        raise DeclarationError(
            f"{on!r}: {model.__name__} is abstract and has no rows; name the models made of it."
        )
    if options.swapped:
        raise DeclarationError(f"{on!r}: {options.label} is swapped for {options.swapped}; name that.")
    return model


registry = Registry()


def home_of(primer: Primer) -> str:
    """Return the database that holds a primer's products: its own, that of the models it depends on (their changes
    commit with them there), or the first.
    """
    if primer.database:
        return primer.database
    if isinstance(primer, (Stock, Flow)):
        try:
            if isinstance(primer, Stock):
                return counting.home_of(primer)
            if primer.tracker is not None:
                return str(router.db_for_write(tracked_model(primer.tracker.model)))
            return next(home_of(stock) for stock in registry.ends(primer)[2])
        except (DeclarationError, StopIteration):
            return str(conf.DATABASES[0])  # told by the checks
    if isinstance(primer, Process):
        try:
            return home_of(registry.parts(primer)[0][0])
        except (DeclarationError, IndexError):
            return str(conf.DATABASES[0])  # told by the checks
    registry.models()  # resolves the edges
    aliases = [str(router.db_for_write(on.model)) for on in primer.depends_on if on.model is not None]
    return next((alias for alias in aliases if alias in conf.DATABASES), str(conf.DATABASES[0]))
