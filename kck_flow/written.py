"""Primers that are written in a file, ``primers.toml`` beside an app's ``primers.py``: a table each, no code.

A table's name is the key base, ``primer`` the class that it fills in (``primers.sql.SQL`` where it is not said), and
each other entry one of its attributes. Durations are texts such as ``"90s"``, ``"10m"``, ``"1h"``, ``"7d"``; a schedule
is ``"every 10m"`` or the five fields of cron; parameters are ``{name = "integer"}``. TOML: https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils.module_loading import import_string

from .errors import DeclarationError
from .parameter import (
    BooleanParameter,
    ChoiceParameter,
    DateParameter,
    DateTimeParameter,
    DecimalParameter,
    FloatParameter,
    IntegerParameter,
    ModelParameter,
    Parameter,
    StringParameter,
    UUIDParameter,
)
from .primer import On, Primer
from .schedule import Schedule, cron, every

NAME = "primers.toml"
DEFAULT = "primers.sql.SQL"
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)")
_KINDS: Mapping[str, type[Parameter[Any]]] = {
    "text": StringParameter,
    "integer": IntegerParameter,
    "float": FloatParameter,
    "decimal": DecimalParameter,
    "boolean": BooleanParameter,
    "date": DateParameter,
    "datetime": DateTimeParameter,
    "uuid": UUIDParameter,
    "choice": ChoiceParameter,
    "model": ModelParameter,
}


def read(path: Path, module: str) -> Iterator[tuple[str, type[Primer] | Exception]]:
    """Yield what a file declares: (``file:line``, a primer class, or what is wrong with it) each. One that is wrong
    keeps none of the others.

    Args:
        module: That the classes belong to.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:  # a project starts all the same, and its checks tell
        yield f"{path}:1", DeclarationError(f"it cannot be read: {error}")
        return
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        at = line[1] if line is not None else len(text.splitlines())  # "at end of document"
        yield f"{path}:{at}", DeclarationError(f"it is no TOML: {error}")
        return
    for name, entry in found.items():
        place = f"{path}:{_line(text, name)}"
        try:
            yield place, _made(name, entry, module, place)
        except Exception as error:  # a class that cannot be imported raises what it likes
            yield place, error


def _line(text: str, name: str) -> int:
    """Return the line on which a table begins."""
    head = re.compile(rf"""\s*\[\s*(["']?){re.escape(name)}\1\s*\]""")
    return next((at for at, line in enumerate(text.splitlines(), 1) if head.match(line)), 1)


def _made(name: str, entry: Any, module: str, place: str) -> type[Primer]:
    if not isinstance(entry, dict):
        raise DeclarationError(
            f"{name} = {entry!r} is no table: a primer is [{name}] and its attributes below it"
        )
    said = dict(entry)
    named = said.pop("primer", DEFAULT)
    try:
        base = import_string(named)
    except (ImportError, TypeError, AttributeError) as error:
        raise DeclarationError(f"[{name}] primer = {named!r} cannot be imported: {error}") from None
    if not (isinstance(base, type) and issubclass(base, Primer)):
        raise DeclarationError(f"[{name}] primer = {named!r} is no primer")
    attributes: dict[str, Any] = {
        "__module__": module,
        "__doc__": None,
        "key_base": name,
        "declared_at": place,
    }
    attributes["label"] = name.replace("_", " ").capitalize()
    for attribute, value in said.items():
        attributes[attribute] = _attribute(base, name, attribute, value)
    return type(re.sub(r"\W", "_", name), (base,), attributes)


def _attribute(base: type[Primer], name: str, attribute: str, value: Any) -> Any:
    """Return the value of an attribute as its class has it. Raises DeclarationError."""
    if attribute in ("key_base", "key", "key_bases"):
        raise DeclarationError(f"[{name}] {attribute}: the key base is the name of the table, {name!r}")
    known = [
        one
        for one in dir(base)
        if not one.startswith("_") and not callable(getattr(base, one, None)) and not _is_property(base, one)
    ]
    if attribute not in known:
        near = difflib.get_close_matches(attribute, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DeclarationError(f"[{name}] {base.__name__} has no attribute {attribute!r}.{hint}")
    where = f"[{name}] {attribute}"
    if attribute == "schedule":
        return _schedule(where, value)
    if attribute == "parameters":
        return _parameters(where, value)
    if attribute == "depends_on":
        return _edges(where, value)
    if "timedelta" in _annotation(base, attribute):
        return _duration(where, value)
    return value


def _is_property(base: type[Primer], name: str) -> bool:
    return isinstance(next((vars(one)[name] for one in base.__mro__ if name in vars(one)), None), property)


def _annotation(base: type[Primer], name: str) -> str:
    return next(
        (
            str(vars(one)["__annotations__"][name])
            for one in base.__mro__
            if name in vars(one).get("__annotations__", {})
        ),
        "",
    )


def _duration(where: str, value: Any) -> timedelta:
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise DeclarationError(f'{where} = {value!r} is no duration: write "90s", "10m", "1h" or "7d"')
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def _schedule(where: str, value: Any) -> Schedule:
    given = {"cron": value} if isinstance(value, str) else value
    if isinstance(value, str) and value.startswith("every "):
        return every(_duration(where, value.removeprefix("every ")))
    if not isinstance(given, dict) or not isinstance(given.get("cron"), str) or set(given) - {"cron", "tz"}:
        raise DeclarationError(
            f'{where} = {value!r} is no schedule: write "every 10m", "30 2 * * *" or '
            '{cron = "30 2 * * *", tz = "Europe/Paris"}'
        )
    return cron(given["cron"], tz=given.get("tz"))


def _parameters(where: str, value: Any) -> list[Parameter[Any]]:
    if not isinstance(value, dict):
        raise DeclarationError(f'{where} = {value!r}: write {{year = "integer"}}, in their order')
    made = []
    for name, said in value.items():
        options = dict(said) if isinstance(said, dict) else {"type": said}
        kind = options.pop("type", None)
        if kind not in _KINDS:
            near = difflib.get_close_matches(str(kind), _KINDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DeclarationError(
                f"{where}: {name} is of no type {kind!r}.{hint} There are: {', '.join(_KINDS)}"
            )
        try:
            made.append(_KINDS[kind](name, **options))
        except TypeError as error:
            raise DeclarationError(f"{where}: {name} ({kind}): {error}") from None
    return made


def _edges(where: str, value: Any) -> list[On]:
    if not isinstance(value, list):
        raise DeclarationError(
            f'{where} = {value!r}: write a list of models and products, ["shop.Order", "open_orders"]'
        )
    made = []
    for one in value:
        given = dict(one) if isinstance(one, dict) else {"on": one}
        source = given.pop("on", None)
        if not isinstance(source, str):
            raise DeclarationError(
                f'{where}: {one!r} names no source: write "shop.Order" or {{on = "shop.Order", …}}'
            )
        try:
            made.append(On(source, **given))
        except TypeError as error:
            raise DeclarationError(f"{where}: {source}: {error}") from None
    return made
