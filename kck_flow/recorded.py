"""How the transitions of a flow are kept as events: in the table that flows share, or in a model of the project's own.

Events are written by triggers, in the transaction of the writer. What could refuse such a row would refuse the write
that it tells of; so of a model of the project's own all that could is found here, before there is any trigger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models, router

from .errors import DeclarationError

if TYPE_CHECKING:
    from .stock import Flow

# Columns that the trigger fills of each event, beside the subject's; their types, as PostgreSQL tells them.
COLUMNS = {
    "key_base": "text",
    "generation": "bigint",
    "args": "jsonb",
    "source": "text",
    "sink": "text",
    "at": "timestamp with time zone",
    "xact": "bigint",
    "facets": "jsonb",
    "callback_state": "character varying(6)",
}
_WHOLE = ("smallint", "integer", "bigint")


@dataclass(frozen=True, slots=True)
class Source:
    """What a column of an event can be filled with: the value of a facet or a parameter.

    Attributes:
        sql: SQL of the value, of a row ``kck_row``; of a text, in its normal form.
        jsonb: The same as ``facets`` has it.
        output: The field that holds such values, that of a key for a foreign key.
        field: The field itself, where the value is that of a field and not of an expression.
    """

    sql: str
    jsonb: str
    output: models.Field[Any, Any]
    field: models.Field[Any, Any] | None


@dataclass(frozen=True, slots=True)
class Filled:
    """A column that a trigger fills.

    Attributes:
        column: Its name.
        sql: SQL of the value, of a row ``kck_row``.
        type: Its type, as PostgreSQL tells it.
        null: Whether the value may be NULL.
    """

    column: str
    sql: str
    type: str
    null: bool


@dataclass(frozen=True, slots=True)
class Typed:
    """The model of the project's own in which events are kept.

    Attributes:
        model: Its label.
        relation: Its table, quoted.
        subject: The column of the subject's key; its ``sql`` is empty, for it is told of each event.
        filled: Its own columns that facets and parameters fill.
    """

    model: str
    relation: str
    subject: Filled
    filled: tuple[Filled, ...]

    def to_json(self) -> dict[str, Any]:
        def listed(one: Filled) -> list[Any]:
            return [getattr(one, field.name) for field in fields(one)]

        return {
            "model": self.model,
            "relation": self.relation,
            "subject": listed(self.subject),
            "filled": [listed(one) for one in self.filled],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Typed:
        filled = tuple(Filled(*one) for one in found["filled"])
        return cls(found["model"], found["relation"], Filled(*found["subject"]), filled)


@dataclass(frozen=True, slots=True)
class Recording:
    """How the transitions of a flow are kept as events.

    Attributes:
        subject: Label of the model whose rows they tell of.
        due: Whether somebody has to be called for each.
        typed: The model of the project's own that they are kept in; None for the table that flows share.
    """

    subject: str
    due: bool
    typed: Typed | None = None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"subject": self.subject, "due": self.due}
        return found if self.typed is None else found | {"typed": self.typed.to_json()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Recording:
        typed = found.get("typed")
        return cls(found["subject"], found["due"], Typed.from_json(typed) if typed else None)


def recording_of(
    flow: Flow, model: type[models.Model], alias: str, sources: Mapping[str, Source]
) -> Recording | None:
    """Return how a flow's transitions are kept as events; None where they are not, or where the model that is to keep
    them could refuse them (``mistakes``): then they are counted, and that is all.

    Args:
        model: That of its rows.
        sources: What can be told of each, by name.

    Raises:
        DeclarationError: its callables are none.
    """
    called = flow.event_callables
    if not isinstance(called, (list, tuple)) or not all(map(callable, called)):
        raise DeclarationError(f"event_callables is a list of functions, not {called!r}")
    if any(mistakes(flow, model, alias, sources)):
        return None
    label = model._meta.label
    if isinstance(flow.record_events, bool):
        return Recording(label, bool(called)) if flow.record_events or called else None
    kept = event_model(flow.record_events)
    quote = connections[alias].ops.quote_name
    subject, filled = None, []
    for field in _own(kept):
        if field.name == "subject":
            subject = Filled(_column(field), "", _type(field, alias), False)
        elif (source := sources.get(field.name)) is not None:
            sql = source.jsonb if isinstance(concrete(field), models.JSONField) else source.sql
            filled.append(Filled(_column(field), sql, _type(field, alias), _may_be_null(source)))
    assert subject is not None
    return Recording(
        label, bool(called), Typed(kept._meta.label, quote(kept._meta.db_table), subject, tuple(filled))
    )


def event_model(given: Any) -> type[models.Model]:
    """Return the model of the project's own that is given to keep events. Raises DeclarationError: it is none."""
    found = given
    if isinstance(found, str) and found.count(".") == 1:
        try:
            found = apps.get_model(found)
        except LookupError:
            raise DeclarationError(f"record_events names {given!r}, and there is no such model") from None
    if not (isinstance(found, type) and issubclass(found, models.Model)):
        raise DeclarationError(
            f"record_events is True, False or a model of events (a subclass of FlowEvent), not {given!r}"
        )
    if not getattr(found, "keeps_transitions", False) or found._meta.abstract:
        told = "is abstract" if found._meta.abstract else "is no subclass of kck_flow.models.FlowEvent"
        raise DeclarationError(f"record_events is {found._meta.label}, which {told}")
    kept: type[models.Model] = found._meta.concrete_model or found
    return kept


def event_models() -> list[type[models.Model]]:
    """Return the models of the project's own that can keep events, by label."""
    found = {
        model
        for model in apps.get_models()
        if getattr(model, "keeps_transitions", False) and not model._meta.proxy
    }
    return sorted(found, key=lambda model: model._meta.label)


def subject_column(kept: type[models.Model]) -> str:
    """Return the column of a model of events that holds the subject's key; empty where it has none."""
    return next((_column(field) for field in _own(kept) if field.name == "subject"), "")


# -- what could refuse an event
# ----------------------------------------------------------------------------------------------------


def mistakes(
    flow: Flow, model: type[models.Model], alias: str, sources: Mapping[str, Source]
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the model that is to keep a flow's events, as (what, what to do)."""
    if isinstance(flow.record_events, bool):
        return
    try:
        kept = event_model(flow.record_events)
    except DeclarationError as error:
        yield (
            str(error),
            "Give a subclass of kck_flow.models.FlowEvent with a table of its own, or True for the shared one.",
        )
        return
    label = kept._meta.label
    if any(not parent._meta.abstract for parent in kept._meta.parents):
        yield (
            f"{label} keeps its events in two tables, its own and its parent's",
            "Derive it from FlowEvent directly, or from an abstract model.",
        )
        return
    yield from _home(kept, alias)
    yield from _base(kept)
    yield from _subject(kept, model)
    for field in _own(kept):
        yield from _of_field(field, label, sources)
    for name in _refusing(kept):
        yield (
            f"{label} has the constraint {name}: a row that it refuses would be a write that fails",
            "Leave it out: events are written in the transaction of whoever writes.",
        )


def overlooking(given: Any, sources: Mapping[str, Source]) -> list[str]:
    """Return the foreign keys of a model of events by which reading overlooks some: Django joins by one that cannot be
    NULL as if its row were there.
    """
    if isinstance(given, bool):
        return []
    fields = [field for field in _own(event_model(given)) if field.name == "subject" or field.name in sources]
    return [field.name for field in fields if isinstance(field, models.ForeignKey) and not field.null]


def _home(kept: type[models.Model], alias: str) -> Iterator[tuple[str, str]]:
    home = router.db_for_write(kept)
    if home != alias:
        yield (
            f"{kept._meta.label} lives in the database {home!r}, and the flow in {alias!r}",
            "Events commit with what they tell of: keep both in one database.",
        )


def _base(kept: type[models.Model]) -> Iterator[tuple[str, str]]:
    base = next(one for one in kept.__mro__ if "keeps_transitions" in vars(one))
    for field in base._meta.local_fields:  # type: ignore[attr-defined]
        try:
            own = kept._meta.get_field(field.name)
        except FieldDoesNotExist:
            own = None
        if own is None or own.deconstruct()[1:] != field.deconstruct()[1:]:  # type: ignore[union-attr]
            yield (
                f"{kept._meta.label} has changed the field {field.name!r} of FlowEvent",
                "Leave it as it is; a field of another name may be added.",
            )


def _subject(kept: type[models.Model], model: type[models.Model]) -> Iterator[tuple[str, str]]:
    label, of = kept._meta.label, model._meta.label
    wanted = (
        f'subject = models.ForeignKey("{of}", models.DO_NOTHING, null=True, db_constraint=False, '
        f'related_name="{kept._meta.model_name}s")'
    )
    if len(getattr(model._meta, "pk_fields", ())) > 1:
        yield (
            f"{of} has a primary key of several columns, which no foreign key of {label} can refer to",
            "Say record_events = True: the shared table spells such keys as text.",
        )
        return
    field = next((one for one in _own(kept) if one.name == "subject"), None)
    if not isinstance(field, models.ForeignKey):
        what = "has no field 'subject'" if field is None else "has a subject that is no foreign key"
        yield f"{label} {what}", f"Write: {wanted}"
        return
    if field.unique:
        yield (
            f"{label}: subject is unique, and a row has many events",
            f"A OneToOneField keeps the first alone. Write: {wanted}",
        )
    target = field.remote_field.model
    if not _has_key_of(model, target):
        yield (
            f"{label}: subject refers to {_label(target)}, and the flow's rows are those of {of}",
            f"Write: {wanted}",
        )
    elif field.target_field != concrete_of(target)._meta.pk:
        yield (
            f"{label}: subject refers to the column {field.target_field.name!r} of {_label(target)}",
            "Leave to_field out: a row is told from another by its primary key.",
        )


def _has_key_of(model: type[models.Model], target: Any) -> bool:
    """Whether a row of a model has its key from ``target``: it is the model itself, or such a parent."""
    if not (isinstance(target, type) and issubclass(target, models.Model)):
        return False
    here: type[models.Model] = concrete_of(model)
    while here is not concrete_of(target):
        pk = here._meta.pk
        if not isinstance(pk, models.OneToOneField) or not pk.remote_field.parent_link:
            return False
        here = concrete_of(pk.remote_field.model)
    return True


def _of_field(
    field: models.Field[Any, Any], label: str, sources: Mapping[str, Source]
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a field of the project's own."""
    name = f"{label}: {field.name}"
    source = sources.get(field.name)
    if field.name != "subject" and source is None:
        default = field.has_db_default()
        if getattr(field, "generated", False):
            yield (
                f"{name} is computed by the database: a row that this fails for would be a write that fails",
                "Leave it out, and annotate what you read.",
            )
        elif not field.null and not default:
            known = ", ".join(sorted(sources)) or "none"
            yield (
                f"{name} cannot be NULL, and nothing fills it",
                f"Write null=True, or give it a db_default; facets and parameters of the flow are: {known}.",
            )
        if field.unique and default:
            yield f"{name} is unique, and its db_default is not", "Leave unique out."
        return
    if isinstance(field, models.ForeignKey):
        if isinstance(field.remote_field.model, str):
            yield (
                f"{name} refers to {field.remote_field.model}, which is no model",
                "Name one of an installed app.",
            )
            return
        if field.db_constraint:  # type: ignore[attr-defined]
            yield (
                f"{name} has a foreign key constraint: once the row is gone that it refers to, each write that "
                "makes an event of it fails",
                "Write db_constraint=False, with on_delete=models.DO_NOTHING and null=True.",
            )
        elif field.remote_field.on_delete not in (models.DO_NOTHING, models.SET_NULL):
            told = getattr(field.remote_field.on_delete, "__name__", "something else")
            yield (
                f"{name} has on_delete={told}: the row is not to be kept by its events, nor to take them along",
                "Write on_delete=models.DO_NOTHING; with models.SET_NULL and null=True the event forgets which it was.",
            )
    if field.name == "subject" or source is None:
        return
    if field.unique:
        yield f"{name} is unique, and events are not", "Leave unique out."
    if not _fits(source, field):
        held = _told(source.field or source.output)
        yield (
            f"{name} is {_told(field)}, and cannot hold all that the facet or parameter of that name is, {held}",
            "Give it a field of that kind and size, or a JSONField; or another name, and null=True.",
        )
    elif not field.null and _may_be_null(source) and not isinstance(concrete(field), models.JSONField):
        yield f"{name} cannot be NULL, and its value can", "Write null=True."


def _fits(source: Source, field: models.Field[Any, Any]) -> bool:
    """Whether whatever a facet or parameter can be goes into a field."""
    target, given = concrete(field), source.output
    if isinstance(target, models.JSONField):
        return True
    if field.is_relation and source.field is not None and source.field.is_relation:
        of, other = concrete_of(field.related_model), concrete_of(source.field.related_model)
        if of is not other:
            return False
    match given:
        case models.BooleanField():
            return isinstance(target, models.BooleanField)
        case models.IntegerField():
            # AutoFields among them. A PositiveIntegerField has a constraint, and takes only what has the same.
            if not isinstance(target, models.IntegerField) or (
                isinstance(target, models.fields.PositiveIntegerRelDbTypeMixin)
                and not isinstance(given, models.fields.PositiveIntegerRelDbTypeMixin)
            ):
                return False
            return _WHOLE.index(_whole(given)) <= _WHOLE.index(_whole(target))
        case models.DateTimeField():
            return isinstance(target, models.DateTimeField)
        case models.DateField():
            return isinstance(target, models.DateField) and not isinstance(target, models.DateTimeField)
        case models.UUIDField():
            return isinstance(target, models.UUIDField)
        case models.FloatField():
            return isinstance(target, models.FloatField)
        case models.DecimalField():
            return isinstance(target, models.DecimalField) and _digits(given, target)
        case models.CharField() | models.TextField() | models.FileField():
            if isinstance(target, models.TextField):
                return True
            if not isinstance(target, models.CharField):
                return False
            if target.max_length is None:
                return True
            longest = None if isinstance(given, models.TextField) else given.max_length
            return longest is not None and longest <= target.max_length
    return False


def _whole(field: models.Field[Any, Any]) -> str:
    """Return which of the whole numbers of PostgreSQL a field holds."""
    kind = field.get_internal_type()
    return "bigint" if "Big" in kind else "smallint" if "Small" in kind else "integer"


def _digits(given: Any, target: Any) -> bool:
    if target.max_digits is None:
        return True
    if given.max_digits is None:
        return False
    places, more = given.decimal_places or 0, target.decimal_places or 0
    return places <= more and given.max_digits - places <= target.max_digits - more


def _may_be_null(source: Source) -> bool:
    return source.field is None or source.field.null


def _refusing(kept: type[models.Model]) -> Iterator[str]:
    """Yield the names of what could refuse a row, besides its columns."""
    for constraint in kept._meta.constraints:
        yield repr(constraint.name)
    for names in kept._meta.unique_together:
        yield f"unique_together of {', '.join(names)}"


def _own(kept: type[models.Model]) -> list[models.Field[Any, Any]]:
    """Return the fields that a model of events adds to those of its base."""
    base = next(one for one in kept.__mro__ if "keeps_transitions" in vars(one))
    known = {field.name for field in base._meta.local_fields}  # type: ignore[attr-defined]
    return [field for field in kept._meta.local_concrete_fields if field.name not in known]


def concrete(output: Any) -> Any:
    """Return the field that holds the values of one: of a foreign key, the key's."""
    while getattr(output, "target_field", None) is not None and output.is_relation:
        output = output.target_field
    return output


def concrete_of(model: Any) -> Any:
    """Return the model with the table, of a proxy the one that it stands for."""
    return model._meta.concrete_model or model


def _column(field: models.Field[Any, Any]) -> str:
    return str(field.column)


def _type(field: models.Field[Any, Any], alias: str) -> str:
    """Return the type of a field's column, as PostgreSQL tells it."""
    found = str(field.db_type(connections[alias]))
    return found.replace("varchar", "character varying").replace(", ", ",")


def _told(field: models.Field[Any, Any]) -> str:
    if field.is_relation:
        return f"a foreign key to {_label(field.related_model)}"
    size = f" of {field.max_length}" if getattr(field, "max_length", None) else ""
    if isinstance(field, models.DecimalField):
        size = f" of {field.max_digits} digits, {field.decimal_places} of them decimals"
    return f"a {type(field).__name__}{size}"


def _label(model: Any) -> str:
    return str(getattr(getattr(model, "_meta", None), "label", model))
