"""What was declared wrongly, told before the first request: ``manage.py check`` (tag ``kck``).

E001 a primers module or file cannot be read · E002 two primers share a name · E003 a primer is declared wrongly ·
E004 a setting is wrong · E005 an edge's source is unknown · E006 a circle of edges · E007 an edge names a
column that is not there · E008 not PostgreSQL · E009 a model outside of KCK_FLOW["DATABASES"] · E010 a stock or flow
is declared wrongly · E011 a process is · E012 a model of events could refuse them · E014 a topic is declared wrongly ·
E015 a time frame is · E016 a metric is · E017 a dashboard is · W001 an attribute of a primer that is probably
misspelt · W002 a stock that no trigger can follow · W003 a stock or flow that sees only what this application saves ·
W004 a model of events whose foreign key overlooks some · W005 streams under WSGI. Before a deployment there are two
more: ``deployment``.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import FieldDoesNotExist
from django.db import router

from . import conf as confs
from . import definition, histories, spelling
from .conf import conf
from .dashboard import Dashboard, Panel
from .errors import DeclarationError, InvalidKey
from .metric import Metric
from .mistakes import misspelt, problems
from .parameter import ModelParameter
from .permission import RULES, problem
from .primer import On, Primer, names_of, where
from .process import Process
from .registry import home_of, registry
from .stock import Flow, Stock
from .timeframe import TimeFrame, aligned
from .topic import Topic
from .tracked import tracked_definition
from .walked import stock_definition

TAG = "kck"


@register(TAG)
def check_settings(**_: Any) -> list[CheckMessage]:
    """E004, E008, W005: the settings, and the databases they name."""
    found: list[CheckMessage] = [
        Error(
            text,
            hint="Correct settings.KCK_FLOW; the reference lists every key with its default and unit.",
            id="kck_flow.E004",
        )
        for text in confs.problems()
    ]
    if not found:
        for alias in conf.DATABASES:
            engine = settings.DATABASES.get(alias, {}).get("ENGINE", "")
            if (
                not engine.endswith(("postgresql", "postgis", "postgresql_psycopg2"))
                and "postgres" not in engine
            ):
                found.append(
                    Error(
                        f"The database {alias!r} uses {engine or 'no engine'}, and kck_flow works on PostgreSQL only.",
                        hint="Use django.db.backends.postgresql, or name a PostgreSQL alias in KCK_FLOW['DATABASES'].",
                        id="kck_flow.E008",
                    )
                )
        given: Any = getattr(settings, "KCK_FLOW", None)
        if conf.LIVE == "stream" and not getattr(settings, "ASGI_APPLICATION", None):
            found.append(
                Warning(
                    f"KCK_FLOW['LIVE'] is 'stream', and ASGI_APPLICATION is not set ({confs.place(given, 'LIVE')}): "
                    f"under WSGI a stream would hold a worker, so pages ask every {conf.LIVE_SECONDS:g} s instead.",
                    hint="Name the project's ASGI application in ASGI_APPLICATION and serve that, or say 'poll'.",
                    id="kck_flow.W005",
                )
            )
    return found


@register(TAG)
def check_primers(**_: Any) -> list[CheckMessage]:
    """E001 to E003, E005 to E007, E009 to E017, W001 to W004: what the apps declare."""
    found: list[CheckMessage] = []
    for broken in registry.broken:
        error = f"{type(broken.error).__name__}: {broken.error}"
        if broken.place:
            found.append(
                Error(
                    f"{broken.place}: {str(broken.error).rstrip('.')}.",
                    hint="Correct the file; what else is in it works meanwhile.",
                    obj=broken.module,
                    id="kck_flow.E001",
                )
            )
        elif broken.declared is None:
            found.append(
                Error(
                    f"{broken.module} cannot be imported: {error} ({broken.where()}).",
                    hint="Import it in a shell to see the whole trace; the other apps' primers work meanwhile.",
                    obj=broken.module,
                    id="kck_flow.E001",
                )
            )
        elif not problems(broken.declared):
            found.append(
                Error(
                    f"{_place(broken.declared)}: it cannot be set up: {error}.",
                    hint="Correct its declaration.",
                    obj=_who(broken.declared),
                    id="kck_flow.E003",
                )
            )
    for name, first, second in registry.duplicates:
        found.append(
            Error(
                f"Two primers are named {name!r}: {_named(first)} and {_named(second)}.",
                hint="Rename one of them (key_base), or make it abstract by leaving key_base out.",
                obj=_who(second),
                id="kck_flow.E002",
            )
        )
    for declared in registry.classes:
        for what, hint in problems(declared):
            found.append(
                Error(f"{_place(declared)}: {what}.", hint=hint, obj=_who(declared), id="kck_flow.E003")
            )
    for declared in (*registry.classes, *registry.nameless):
        for name, meant in misspelt(declared):
            found.append(
                Warning(
                    f"{_place(declared)}: a primer has no attribute {name!r}. Did you mean {meant!r}?",
                    hint=f"Rename it to {meant!r}, or, if it is one of your own, to what is less like it.",
                    obj=_who(declared),
                    id="kck_flow.W001",
                )
            )
    for primer in registry.unique():
        if problems(type(primer)):
            continue  # the rest follows from these
        for on in primer.depends_on:
            found.extend(_edge(primer, on))
        found.extend(_keys(primer))
        if isinstance(primer, Stock):
            found.extend(_stock(primer))
        if isinstance(primer, Flow):
            found.extend(_flow(primer))
        if isinstance(primer, Process):
            found.extend(_process(primer))
        if isinstance(primer, Topic):
            found.extend(
                Error(f"{primer.where()}: {what}.", hint=hint, obj=_who(type(primer)), id="kck_flow.E014")
                for what, hint in primer.problems()
            )
        if isinstance(primer, TimeFrame):
            found.extend(_frames(primer))
        if isinstance(primer, Metric):
            found.extend(
                Error(f"{primer.where()}: {what}.", hint=hint, obj=_who(type(primer)), id="kck_flow.E016")
                for what, hint in primer.problems()
            )
        if not confs.problems():
            found.extend(_databases(primer))
    for dashboard in registry.dashboards.values():
        found.extend(_dashboard(dashboard))
    cycle = registry.cycle()
    if cycle:
        places = ", ".join(f"{name} ({registry.primers[name].where()})" for name in dict.fromkeys(cycle))
        found.append(
            Error(
                f"These products depend on each other in a circle: {' → '.join(cycle)}. Declared: {places}.",
                hint="Take one of these edges out of depends_on: none of them could ever be computed first.",
                obj=_who(type(registry.primers[cycle[0]])),
                id="kck_flow.E006",
            )
        )
    return found


def _dashboard(dashboard: Dashboard) -> Iterator[CheckMessage]:
    """E017: what the panels of a dashboard show, how, and who may see it."""
    who = f"{type(dashboard).__module__}.{type(dashboard).__qualname__}"
    params = {one.name: one for one in dashboard.parameters}
    for section in dashboard.sections:
        for panel in section.panels:
            for wrong in _wrong_in_panel(panel, params):
                yield Error(
                    f"{dashboard.where()}: {panel!r}: {wrong}",
                    hint="Correct the panel; the page shows the others meanwhile.",
                    obj=who,
                    id="kck_flow.E017",
                )
    wrong = problem(dashboard.permission)
    if wrong:
        yield Error(
            f"{dashboard.where()}: {wrong}.",
            hint=f"Give one of {', '.join(RULES)}, a permission such as 'shop.view_order', or a function.",
            obj=who,
            id="kck_flow.E017",
        )


def _wrong_in_panel(panel: Panel, params: Mapping[str, Any]) -> list[str]:
    if panel.key in registry.primers:
        return list(registry.wrong_panel(panel.key, panel.show, panel.options, params).values())
    try:
        asked = {name for _text, name, *_rest in string.Formatter().parse(panel.key) if name is not None}
    except ValueError as error:
        return [f"{panel.key!r} is no key: {error}."]
    unknown = [name for name in asked if name not in params]
    if unknown:
        known = ", ".join(params) or "none"
        return [f"{{{unknown[0]}}} is no parameter of the dashboard. It has: {known}."]
    base = panel.key.partition("/")[0]
    if "{" in base:
        return []  # which product it is, its page says
    wrong = list(registry.wrong_panel(base, panel.show, panel.options).values())
    if not wrong and not asked:
        try:
            registry.key(panel.key)
        except InvalidKey as error:
            wrong.append(str(error))
    return wrong


def _keys(primer: Primer) -> Iterator[CheckMessage]:
    """E003, E005: models of parameters, and a domain that is written out."""
    who, place = _who(type(primer)), _place(type(primer))
    for parameter in primer.parameters:
        try:
            model = parameter.model if isinstance(parameter, ModelParameter) else None
        except DeclarationError as error:
            yield Error(
                f"{place}: {str(error).rstrip('.')}.",
                hint="Name a model of an installed app.",
                obj=who,
                id="kck_flow.E003",
            )
            return
        if model is not None and getattr(model, "_meta", None) is None:
            yield Error(
                f"{place}: parameter {parameter.name!r} names {model!r}, which is no model.",
                hint="Name a model: the class, or 'app_label.ModelName'.",
                obj=who,
                id="kck_flow.E003",
            )
            return
    if isinstance(primer.domain, str):
        try:
            registry.primer(registry.key(primer.domain).key_base)
        except KeyError as error:
            yield Error(
                f"{place}: domain is the key of a product, {primer.domain!r}: {error}",
                hint="Name a product that is a list of keys, or define domain(self).",
                obj=who,
                id="kck_flow.E005",
            )
    elif isinstance(primer.domain, (list, tuple)):
        try:
            primer.domain_keys()
        except (InvalidKey, ValueError) as error:
            yield Error(
                f"{place}: domain has what is no key of it: {str(error).rstrip('.')}.",
                hint="Give keys, dicts of parameters or, with one parameter, its values.",
                obj=who,
                id="kck_flow.E003",
            )


def _stock(stock: Stock) -> Iterator[CheckMessage]:
    """E010, W002, W003: what a stock counts, and whether its changes can be captured."""
    who, place = _who(type(stock)), _place(type(stock))
    wrong = list(definition.mistakes(stock))
    for what, hint in wrong:
        yield Error(f"{place}: {what}.", hint=hint, obj=who, id="kck_flow.E010")
    if wrong or stock.capture is None:
        return
    try:
        stock_definition(stock, home_of(stock))
    except definition.NotCaptured as reason:
        wanted = stock.schedule is None and stock.soft_expire is None
        yield Warning(
            f"{place}: its changes cannot be captured, because {reason}. Its value is counted anew instead.",
            hint=("Give it a schedule or a soft_expire, or it is counted once and kept. " if wanted else "")
            + "With capture = None this is said to be meant.",
            obj=who,
            id="kck_flow.W002",
        )
    except DeclarationError as error:
        yield Error(
            f"{place}: {str(error).rstrip('.')}.",
            hint="Correct its declaration.",
            obj=who,
            id="kck_flow.E010",
        )
    else:
        if stock.capture == "signals":
            yield _one_at_a_time(stock)


def _one_at_a_time(primer: Primer) -> CheckMessage:
    """W003: what sees only what this application saves."""
    return Warning(
        f"{_place(type(primer))}: it sees what this application saves and deletes, one object at a time; update(), "
        "bulk_create(), bulk_update(), SQL and other programs move rows that it does not count.",
        hint="Where columns of the row can say the states, capture by triggers sees all. Where nothing else writes "
        "these rows, name this check in SILENCED_SYSTEM_CHECKS.",
        obj=_who(type(primer)),
        id="kck_flow.W003",
    )


def _flow(flow: Flow) -> Iterator[CheckMessage]:
    """E010, E012, W003, W004: a flow's ends, facets and parameters; one that cannot be captured cannot be counted. And
    the model that is to keep its events."""
    text, hint = "", "Correct its declaration."
    try:
        if flow.capture == "signals" or flow.tracker is not None:
            tracked_definition(flow, home_of(flow))
        else:
            found = definition.flow_definition(flow, home_of(flow), *registry.ends(flow))
            text = histories.refused(flow, found) if flow.from_history else ""
            if text:
                hint = "Count its sources by a flow each, name the column that says when, or leave from_history out."
    except definition.NotCaptured as reason:
        text = f"its transitions cannot be captured, because {reason}"
        hint = "Say it by columns of the model alone: a flow has nothing else to be counted from."
    except DeclarationError as error:
        text = str(error).rstrip(".")
    if not text and flow.is_own:
        text, hint = _own_augment(flow)
    if text:
        yield Error(f"{_place(type(flow))}: {text}.", hint=hint, obj=_who(type(flow)), id="kck_flow.E010")
    elif flow.capture == "signals":
        yield _one_at_a_time(flow)
        if flow.from_history:
            yield Error(
                f"{_place(type(flow))}: it starts from history, and its states only Python can tell.",
                hint="Leave from_history out: it counts from now on.",
                obj=_who(type(flow)),
                id="kck_flow.E010",
            )
        if not isinstance(flow.record_events, bool) or not _are_functions(flow.event_callables):
            yield Error(
                f"{_place(type(flow))}: its transitions are told by a ModelTracker, which keeps events in the table "
                f"that flows share, and calls functions; not {flow.record_events!r}, {flow.event_callables!r}.",
                hint="Say record_events = True, and event_callables = [function, …].",
                obj=_who(type(flow)),
                id="kck_flow.E010",
            )
    else:
        yield from _events(flow)


def _events(flow: Flow) -> Iterator[CheckMessage]:
    """E012, W004: the model that is to keep a flow's events."""
    who, place = _who(type(flow)), _place(type(flow))
    inside = registry.ends(flow)[2]
    wrong = list(definition.event_mistakes(flow, home_of(flow), inside))
    for what, hint in wrong:
        yield Error(
            f"{place}: {what.rstrip('.')}. Until then none of its events is kept.",
            hint=hint,
            obj=who,
            id="kck_flow.E012",
        )
    for name in () if wrong else definition.event_overlooking(flow, home_of(flow), inside):
        yield Warning(
            f"{place}: {name} of its events cannot be NULL, so select_related({name!r}) leaves those out whose row is "
            "gone.",
            hint=f"Write null=True: {name}_id goes on saying which row it was. Where you filter by it, "
            "prefetch_related overlooks none.",
            obj=who,
            id="kck_flow.W004",
        )


def _are_functions(given: Any) -> bool:
    return isinstance(given, (list, tuple)) and all(map(callable, given))


def _own_augment(flow: Flow) -> tuple[str, str]:
    """Return what is in the way of a flow's own ``augment``, and what to do; empty where nothing is."""
    if flow.record_events is not True or flow.capture != "triggers":
        return (
            "its augment is its own, and events are all that it is told of",
            "Set record_events = True, for the table that flows share (and capture by triggers), or leave augment out.",
        )
    for one in flow.own_parameters:
        try:
            why = "of a long text an event keeps the beginning" if spelling.taken(one) == "text" else ""
        except definition.NotCaptured as reason:
            why = str(reason)
        if why:
            return (
                f"its augment is its own, and no trigger can spell the parameter {one.name!r}: {why}",
                "Take a number, a UUID, a day or the key of a row for it, or leave augment out.",
            )
    return "", ""


def _frames(primer: TimeFrame) -> Iterator[CheckMessage]:
    """E015: a time frame."""
    for what, hint in _wrong_in_frames(primer):
        place = _place(type(primer))
        yield Error(f"{place}: {what}.", hint=hint, obj=_who(type(primer)), id="kck_flow.E015")


def _wrong_in_frames(primer: TimeFrame) -> Iterator[tuple[str, str]]:
    """Yield what is wrong in a time frame, as (what, what to do)."""
    kind = type(primer)
    base = registry.primers.get(primer.merges_base) if primer.merges_base is not None else None
    if primer.merges is not None:
        if not isinstance(base, TimeFrame) or base is primer:
            yield (
                f"merges is {primer.merges!r}, which is no other time frame",
                "Name one, by class or key base.",
            )
            return
        if primer.stream is not None:
            yield "it has a stream, and merges another time frame", "Leave one of them out."
        names = [one.name for one in primer.own_parameters]
        if names != [one.name for one in base.own_parameters]:
            yield (
                f"it merges {base.name!r}, which has other parameters",
                "Give both the same parameters, in the same order.",
            )
        elif home_of(primer) != home_of(base):
            yield f"it merges {base.name!r}, which is in another database", "Say the same database for both."
        for size, window in primer.sizes.items():
            fits = base.hops == 1 and any(
                aligned(fine, window) and base.length(name) <= primer.length(size)
                for name, fine in base.sizes.items()
            )
            if not fits and primer.finer[size] is None:
                yield (
                    f"no window of {base.name!r} fills its own{f' of {size}' if size else ''}",
                    "Merge from a time frame whose windows begin where these do, and follow one another.",
                )
    elif primer.stream is None:
        yield (
            "it has no stream",
            "Say stream = …: a Stream, or a method that returns one; or merges = another.",
        )
    merged = primer.merges is not None or any(fine is not None for fine in primer.finer.values())
    if merged and kind.merge is TimeFrame.merge:
        yield "it has no merge(self, key, parts)", "Define how a coarser frame is made of finer ones."
    computed = primer.merges is None
    if computed and kind.compute is TimeFrame.compute:
        yield "it has no compute(self, key, items)", "Define it, and return the value of one window."
    if primer.schedule is not None:
        yield "it has a schedule", "Its windows are its schedule: leave it out."
    if any(on.then != "refresh" for on in primer.depends_on):
        yield (
            "an edge makes its frames stale, or augments them",
            'Say then="refresh" and a key that names the frame: it is computed again, as another revision.',
        )
    if primer.domain is None and any(not one.has_default for one in primer.own_parameters):
        yield "it has parameters, and no domain", "Define domain(self): the products that have frames."
    model = primer.record_model
    if model is not None and not getattr(model, "keeps_frames", False):
        yield f"record_model is {model!r}", "Give a subclass of kck_flow.models.FrameRecord."


def _process(process: Process) -> Iterator[CheckMessage]:
    """E011: what a process is made of."""
    for what, hint in _wrong_in(process):
        place = _place(type(process))
        yield Error(f"{place}: {what}.", hint=hint, obj=_who(type(process)), id="kck_flow.E011")


def _wrong_in(process: Process) -> Iterator[tuple[str, str]]:
    """Yield what is wrong in a process, as (what, what to do); of its parts their own checks tell the rest."""
    try:
        stocks, flows = registry.parts(process)
    except DeclarationError as error:
        yield str(error).rstrip("."), "Name registered stocks and flows, as classes or key bases."
        return
    if not stocks or not flows:
        yield f"it has no {'stocks' if not stocks else 'flows'}", "Name at least one stock, and one flow."
        return
    if process.schedule is not None:
        yield (
            "it has a schedule",
            "It is read as it is now: give the schedule to its stocks, which keep records.",
        )
    for name in ("complete", "overlapping"):
        if not isinstance(getattr(process, name), bool):
            yield f"{name} is {getattr(process, name)!r}", "Give True or False."
    try:
        models = {definition.model_of(stock)._meta.concrete_model: stock.name for stock in stocks}
        if len(models) > 1:
            told = ", ".join(f"{name!r} of {model._meta.label}" for model, name in models.items() if model)
            yield f"its stocks count different models: {told}", "A row moves between stocks of one model."
            return
        homes = {home_of(one) for one in (*stocks, *flows)}
        if len(homes) > 1:
            yield (
                f"its stocks and flows live in different databases: {', '.join(sorted(homes))}",
                "What balances is read in one snapshot: keep them in one.",
            )
            return
        for part in (*stocks, *flows):
            if part.capture == "signals":
                yield (
                    f"{part.name!r} sees only what this application saves, one object at a time",
                    "What no trigger follows cannot balance: leave it out, or say it by columns of the model alone.",
                )
                return
        counted = {stock.name: definition.definition(stock, home_of(stock)) for stock in stocks}
        moved = {
            flow.name: definition.flow_definition(flow, home_of(flow), *registry.ends(flow)) for flow in flows
        }
    except definition.NotCaptured as reason:
        yield (
            f"one of its stocks or flows is not captured, because {reason}",
            "What no trigger follows cannot balance: leave it out, or say it by columns of the model alone.",
        )
        return
    except DeclarationError:
        return  # told of the stock or flow
    for name, one in counted.items():
        if one.timed:
            yield (
                f"the rows of {name!r} come and go with time alone, which no flow sees",
                "Let a scheduled action write the state that time brings: its updates are transitions.",
            )
            return
    yield from _unlike(process, stocks, flows, counted, moved)


def _unlike(
    process: Process,
    stocks: list[Stock],
    flows: list[Flow],
    counted: Mapping[str, definition.Definition],
    moved: Mapping[str, definition.FlowDefinition],
) -> Iterator[tuple[str, str]]:
    """Yield what does not fit together: parameters, ends, a transition of two flows, a row in two stocks."""
    own = [parameter.name for parameter in process.parameters]
    first = stocks[0].name
    for name, args in {name: one.args for name, one in (*counted.items(), *moved.items())}.items():
        if [one for one, _ in args] != own:
            yield (
                f"{name!r} has the parameters {', '.join(one for one, _ in args) or 'none'}, the process "
                f"{', '.join(own) or 'none'}",
                "It balances for each key: they have the same parameters, in one order.",
            )
        elif args != counted[first].args:
            yield (
                f"{name!r} and {first!r} take their parameters from different columns",
                "Give the parameters the same field.",
            )
    names = {stock.name for stock in stocks}
    pairs: dict[tuple[str, str], str] = {}
    for flow in flows:
        one = moved[flow.name]
        if not names & {name for name, _ in (*one.sources, *one.sinks)}:
            yield f"the flow {flow.name!r} moves none of its stocks", "Leave it out, or name its stocks."
        for pair in [(source, sink) for source, _ in one.sources for sink, _ in one.sinks if source != sink]:
            other = pairs.setdefault(pair, flow.name)
            if other != flow.name:
                yield (
                    f"{other!r} and {flow.name!r} both count {' → '.join(name or 'outside' for name in pair)}",
                    "Leave one of them out: in a process each transition is counted once.",
                )
        for name, sql in (*one.sources, *one.sinks):
            if name in names and definition.is_partial(counted[name], sql):
                yield (
                    f"the measure of {name!r} leaves rows out that {flow.name!r} moves",
                    'Put a stock of the same members with Count("*"), or a Sum, into the process.',
                )
    seen: dict[str, str] = {}
    for stock in stocks:
        other = seen.setdefault(counted[stock.name].member, stock.name)
        if other != stock.name and not process.overlapping:
            yield (
                f"{other!r} and {stock.name!r} have the same members",
                "A row is in one of its stocks at most: leave one out, or say overlapping = True.",
            )


def _databases(primer: Primer) -> Iterator[CheckMessage]:
    """E009: what lives in a database that the cache does not know, or augments from several."""
    who, place = _who(type(primer)), _place(type(primer))
    if primer.database and primer.database not in conf.DATABASES:
        yield Error(
            f"{place}: database is {primer.database!r}, and KCK_FLOW['DATABASES'] has {list(conf.DATABASES)}.",
            hint=f"Add {primer.database!r} to KCK_FLOW['DATABASES'] and migrate it.",
            obj=who,
            id="kck_flow.E009",
        )
    augmenting = [on for on in primer.depends_on if on.then == "augment"]
    sources = [registry.primers[on.source_base] for on in augmenting if on.source_base in registry.primers]
    aliases = {router.db_for_write(on.model) for on in augmenting if on.model is not None}
    if conf.DATABASES:
        aliases |= {home_of(source) for source in (*sources, primer)}
    if augmenting and len(aliases) > 1:
        yield Error(
            f"{place}: it is augmented from {len(aliases)} databases: {', '.join(sorted(map(str, aliases)))}.",
            hint="A change must commit with its cause: augment from one database, and mark stale from the others.",
            obj=who,
            id="kck_flow.E009",
        )


def _is_counted(primer: Primer) -> bool:
    if isinstance(primer, Flow):
        return True
    if not isinstance(primer, Stock) or primer.capture is None:
        return False
    try:
        stock_definition(primer, home_of(primer))
    except (definition.NotCaptured, DeclarationError):
        return False  # computed as other products are
    return True


def _edge(primer: Primer, on: On) -> Iterator[CheckMessage]:
    who, place = _who(type(primer)), _place(type(primer))
    try:
        registry.resolve(on)
    except DeclarationError as error:
        yield Error(
            f"{place}: {error}",
            hint="Name a model (class or 'app.Model'), a key base or a primer class.",
            obj=who,
            id="kck_flow.E005",
        )
        return
    if on.model is None:
        upstream = registry.primers.get(on.source_base or "")
        if isinstance(upstream, Process):
            yield Error(
                f"{place}: {on!r} waits for the process {upstream.name!r}, which is read from its stocks and "
                "flows: no change of its own is ever told.",
                hint="Name its stocks and flows.",
                obj=who,
                id="kck_flow.E005",
            )
        if on.then == "augment" and upstream is not None and _is_counted(upstream):
            yield Error(
                f"{place}: {on!r} waits for the changes of {upstream.name!r}, which is counted: that it has changed is "
                "told, and not by what.",
                hint='Say then="stale" or then="refresh"; or augment from the rows themselves.',
                obj=who,
                id="kck_flow.E005",
            )
        if upstream is not None and not callable(on.key):
            names = {parameter.name for parameter in upstream.parameters}
            wanted = [on.key] if isinstance(on.key, str) else list((on.key or {}).values())
            for name in wanted:
                if name not in names:
                    yield Error(
                        f"{place}: {on!r} takes {name!r} from {upstream.name!r}, which has no such parameter.",
                        hint=f"Its parameters are: {', '.join(sorted(names)) or 'none'}.",
                        obj=who,
                        id="kck_flow.E007",
                    )
        return
    columns = {field.attname for field in on.model._meta.concrete_fields}
    wanted = (
        [on.key] if isinstance(on.key, str) else list(on.key.values()) if isinstance(on.key, Mapping) else []
    )
    for name in wanted:
        if name not in columns:
            near = f"{name}_id" if f"{name}_id" in columns else None
            hint = f"Did you mean {near!r}?" if near else f"Its columns are: {', '.join(sorted(columns))}."
            yield Error(
                f"{place}: {on!r} takes the column {name!r} of {on.model._meta.label}, which has none.",
                hint=hint,
                obj=who,
                id="kck_flow.E007",
            )
    for name in on.fields or ():
        try:
            if name != "pk":
                on.model._meta.get_field(name)
        except FieldDoesNotExist:
            yield Error(
                f"{place}: {on!r} watches the field {name!r} of {on.model._meta.label}, which has none.",
                hint=f"Its fields are: {', '.join(sorted(field.name for field in on.model._meta.concrete_fields))}.",
                obj=who,
                id="kck_flow.E007",
            )
    alias = router.db_for_write(on.model)
    if not confs.problems() and alias not in conf.DATABASES:
        yield Error(
            f"{place}: {on!r} is in the database {alias!r}, whose changes the cache cannot keep with it.",
            hint=f"Add {alias!r} to KCK_FLOW['DATABASES'] and migrate it, or refresh the product on a schedule.",
            obj=who,
            id="kck_flow.E009",
        )


def _who(declared: type[Primer]) -> str:
    return f"{declared.__module__}.{declared.__qualname__}"


def _place(declared: type[Primer]) -> str:
    """Return where a primer is declared and its name: Django puts ``_who`` before each message itself."""
    return f"{where(declared)}, key_base {'/'.join(map(str, names_of(declared))) or 'none'}"


def _named(declared: type[Primer]) -> str:
    return f"{_who(declared)} ({_place(declared)})"
