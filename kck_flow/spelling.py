"""Keys spelled in SQL: which product a row belongs to, told by the row alone, in the letters that Python would use.

Only what both spell alike is spelled here: whole numbers, texts, UUIDs, days, truth values, decimals and instants, from
columns of their own kind. All else is left to Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import models

from . import parameter as parameters
from .definition import NotCaptured, literal
from .key import escape
from .parameter import REQUIRED, Parameter
from .primer import Primer

# What a field holds, by its internal type; a relation holds what it points to.
_KINDS = {
    "int": (
        "AutoField BigAutoField SmallAutoField IntegerField BigIntegerField SmallIntegerField PositiveIntegerField "
        "PositiveBigIntegerField PositiveSmallIntegerField"
    ),
    "text": "CharField TextField SlugField EmailField URLField FilePathField",
    "uuid": "UUIDField",
    "date": "DateField",
    "bool": "BooleanField",
    "decimal": "DecimalField",
    "instant": "DateTimeField",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_TAKES: dict[type[Parameter[Any]], str] = {
    parameters.IntegerParameter: "int",
    parameters.StringParameter: "text",
    parameters.UUIDParameter: "uuid",
    parameters.DateParameter: "date",
    parameters.BooleanParameter: "bool",
    parameters.DecimalParameter: "decimal",
    parameters.DateTimeParameter: "instant",
}


class Part:
    """One column of a row as a part of keys.

    Args:
        sql: The column, ``{row}`` in the row's place.
        kind: What it holds: one of ``_KINDS``.
    """

    def __init__(self, sql: str, kind: str) -> None:
        self.sql = sql
        self.kind = kind

    def text(self) -> str:
        """Return SQL of its text in a key, not yet escaped; bytewise, whatever the column's collation."""
        spelled = {
            "text": f'{self.sql}::text COLLATE "C"',
            "date": f"to_char({self.sql}, 'YYYY-MM-DD')",
            "decimal": f"trim_scale({self.sql}::numeric)::text",
            "instant": (
                f"to_char({self.sql} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') || CASE "
                f"WHEN date_trunc('second', {self.sql}) = {self.sql} THEN '' ELSE to_char({self.sql}, '.US') END || 'Z'"
            ),
        }
        return f'({spelled.get(self.kind, f"{self.sql}::text")}) COLLATE "C"'


def part_of(field: models.Field[Any, Any], sql: str) -> Part:
    """Return a column as a part of keys. Raises NotCaptured: SQL and Python spell it differently."""
    final: Any = field
    while final.is_relation:
        final = final.target_field
    kind = _KIND_OF.get(final.get_internal_type())
    if kind == "instant" and not settings.USE_TZ:
        kind = None  # the zone is the parameter's
    if kind is None or hasattr(field, "from_db_value") or hasattr(final, "from_db_value"):
        raise NotCaptured(f"only Python can spell {field.name} ({type(final).__name__}) in a key")
    return Part(sql, kind)


def key(primer: Primer, given: Mapping[str, Part]) -> str:
    """Return SQL of the key that a row's parts make; NULL where one of them is.

    Raises:
        NotCaptured: a parameter spells its values in a way of its own, or of another kind than its column's, or lacks a
            value.
    """
    spelled = [literal(primer.name)]
    for one in primer.parameters:
        part = given.get(one.name)
        if part is None:
            if one.default is REQUIRED:
                raise NotCaptured(f"nothing is given for {one.name!r}")
            spelled.append(literal(_default(one)))
            continue
        if taken(one) != part.kind:
            raise NotCaptured(f"only Python can spell {one.name!r} ({type(one).__name__}) from that column")
        text = part.text()
        if part.kind == "text":
            text = f"{{kck}}kck_part({text})"
            if one.default is not REQUIRED:
                text = f"coalesce(nullif({text}, ''), '%')"
                text = f"CASE WHEN {part.sql} IS NOT NULL THEN {text} END"
        spelled.append(text)
    return "(" + " || '/' || ".join(spelled) + ")"


def _default(one: Parameter[Any]) -> str:
    if one.default is None:
        return ""
    text = one.to_text(one.default)
    return "%" if text == "" else escape(text)


def taken(one: Parameter[Any]) -> str:
    """Return what kind of column a parameter takes. Raises NotCaptured: only Python can tell."""
    if one._from_str is not None or one._to_str is not None:
        raise NotCaptured(f"the parameter {one.name!r} spells its values in a way of its own")
    if type(one) is parameters.ModelParameter:
        return part_of(one.model._meta.pk, "").kind
    found = _TAKES.get(type(one))
    if found is None:
        raise NotCaptured(f"only Python can spell {one.name!r} ({type(one).__name__}) in a key")
    return found
