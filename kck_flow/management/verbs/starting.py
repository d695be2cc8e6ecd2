"""``init``: read an app's models and write its first ``primers.py``, with a comment on each thing worth
knowing.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.db import models

from .. import words
from ..arguments import Options, Verb, failed, usage
from ..console import DONE, Console

Model = type[models.Model]
# An app with a hundred models needs a beginning, not a hundred products.
MOST = 8
# How people name a column of few values where they declare no choices.
FEW_VALUES = ("state", "status", "kind", "type", "plan", "category", "level", "country")


def app_named(name: str) -> AppConfig:
    """Return an installed app by its label or its module. Raises CommandError, naming the nearest."""
    by_label = {config.label: config for config in apps.get_app_configs()}
    by_module = {config.name: config for config in apps.get_app_configs()}
    found = by_label.get(name) or by_module.get(name)
    if found is None:
        near = words.nearest(name, [*by_label, *by_module])
        raise usage(
            f"No installed app is named {name!r}. {near}There are: {', '.join(sorted(by_label))}. "
            "A new one must stand in INSTALLED_APPS first."
        )
    return found


def source(config: AppConfig) -> str:
    """Return a first ``primers.py``: a product for each of an app's models, more where their columns suggest
    it.
    """
    found = [model for model in config.get_models() if model._meta.managed and not model._meta.proxy]
    shown = found[:MOST]
    blocks = [block for model in shown for block in _of_model(config, model, shown)] or [_example(config)]
    needed = {
        name
        for block in blocks
        for name in re.findall(r"\b(IntegerParameter|StringParameter|UUIDParameter|On)\b", block)
    }
    parts = [
        _head(config, shown, needed | {"Key", "Primer"}, counts=any("=Count(" in block for block in blocks)),
        *blocks,
    ]
    if len(found) > MOST:
        names = ", ".join(model.__name__ for model in found[MOST:])
        parts.append(f"# TODO: nothing was written for {names}.\n")
    parts.append(_tail())
    return "\n\n".join(parts)


def _head(config: AppConfig, shown: list[Model], needed: set[str], *, counts: bool) -> str:
    key = f"{config.label}.{_plural(shown[0])}" if shown else f"{config.label}.answer"
    lines = [
        f'"""Products of {config.label}: computed once, kept, and computed again when what they are made of changes.',
        "",
        "Each class is one family of products; being here is all that it needs. In a view:",
        "",
        "    from kck_flow import Cache",
        f'    Cache.get_instance().get("{key}")',
        '"""',
        "",
        "from datetime import timedelta",
        "",
    ]
    if counts:
        lines.append("from django.db.models import Count")
    lines.append(f"from kck_flow import {', '.join(sorted(needed))}")
    if shown:
        own = config.models_module.__name__ if config.models_module is not None else f"{config.name}.models"
        lines += ["", f"from {own} import {', '.join(sorted(model.__name__ for model in shown))}"]
    return "\n".join(lines) + "\n"


def _of_model(config: AppConfig, model: Model, shown: list[Model]) -> Iterator[str]:
    name, plural, label = model.__name__, _plural(model), config.label
    many = str(model._meta.verbose_name_plural)
    manager = (
        model._default_manager.name if getattr(model, "_default_manager", None) is not None else "objects"
    )
    yield f'''class {name}Count(Primer):
    """How many {many} there are."""

    key_base = "{label}.{plural}"
    # After five minutes it is still served, but a new value is wanted. hard_expire = ... would stop serving
    # it.
    soft_expire = timedelta(minutes=5)
    # A saved or deleted row wants a new value, too. TODO: leave it out where rows change all the time.
    depends_on = [On({name}, then="refresh")]

    def compute(self, key: Key) -> int:
        return {name}.{manager}.count()
'''
    field = few_valued(model)
    if field is not None:
        yield f'''class {name}CountBy{_camel(field.name)}(Primer):
    """How many {many} there are of each {field.verbose_name!s}."""

    # TODO: is {field.name} what you want to see {many} by?
    key_base = "{label}.{plural}_by_{field.name}"
    soft_expire = timedelta(minutes=5)
    depends_on = [On({name}, then="refresh", fields=["{field.name}"])]

    def compute(self, key: Key) -> dict[object, int]:
        rows = {name}.{manager}.order_by("{field.name}").values_list("{field.name}")
        return dict(rows.annotate(count=Count("pk")))
'''
    parent = next(
        (
            field
            for field in model._meta.concrete_fields
            if field.many_to_one and field.related_model in shown
        ),
        None,
    )
    if parent is not None:
        one = str(parent.verbose_name)
        yield f'''class {name}CountOf{_camel(parent.name)}(Primer):
    """How many {many} one {one} has: {label}.{plural}_of_{parent.name}/7."""

    key_base = "{label}.{plural}_of_{parent.name}"
    # A typed part of the key: anything else than its type is an InvalidKey, and never a query.
    parameters = [{_parameter(parent)}("{parent.name}")]
    # Each row belongs to the product of its own {one}; its change makes that one stale, and no other.
    depends_on = [On({name}, key="{parent.attname}", fields=["{parent.name}"])]

    def compute(self, key: Key) -> int:
        return {name}.{manager}.filter({parent.attname}=key.params["{parent.name}"]).count()
'''


def _example(config: AppConfig) -> str:
    return f'''class Answer(Primer):
    """TODO: what it is, in one sentence."""

    key_base = "{config.label}.answer"
    # After five minutes it is still served, but a new value is wanted. hard_expire = ... would stop serving
    # it.
    soft_expire = timedelta(minutes=5)

    def compute(self, key: Key) -> int:
        return 42
'''


def _tail() -> str:
    return """# To have a product ready before anybody asks, give it a schedule: every(minutes=5), or cron("0 6 * * *");
# one with parameters also has domain(self), which returns their values. A worker does the rest: manage.py kck worker
"""


def few_valued(model: Model) -> models.Field[Any, Any] | None:
    """Return the model's first column of few values: one with choices, one named like it, or a boolean; else
    None.
    """
    fields = [
        field for field in model._meta.concrete_fields if not field.primary_key and not field.is_relation
    ]
    texts = (models.CharField, models.TextField)
    chosen = [field for field in fields if field.choices]
    named = [field for field in fields if field.name in FEW_VALUES and isinstance(field, texts)]
    booleans = [field for field in fields if isinstance(field, models.BooleanField)]
    return next(iter([*chosen, *named, *booleans]), None)


def _plural(model: Model) -> str:
    name = re.sub(r"\W+", "_", str(model._meta.verbose_name_plural).lower()).strip("_")
    return name if name.isascii() and name.isidentifier() else f"{model._meta.model_name}s"


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _parameter(parent: models.Field[Any, Any]) -> str:
    target: Any = parent.target_field  # type: ignore[attr-defined]
    if isinstance(target, models.IntegerField):
        return "IntegerParameter"
    return "UUIDParameter" if isinstance(target, models.UUIDField) else "StringParameter"


def write(config: AppConfig) -> Path:
    """Write an app's first ``primers.py``; return its path. Raises OSError: it has one, or is not ours to
    write.
    """
    folder = Path(config.path)
    if {"site-packages", "dist-packages"} & set(folder.parts):
        raise PermissionError(
            0, "it belongs to an installed package; put its products into an app of your own"
        )
    path = folder / "primers.py"
    if (folder / "primers").exists():
        raise FileExistsError(str(folder / "primers"))
    text = source(config)
    with open(path, "x", encoding="utf-8") as out:
        out.write(text)
    return path


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="An installed app, by its label or its module.")
    parser.add_argument("--dry-run", action="store_true", help="Print the file; write nothing.")


def _init(console: Console, options: Options) -> int:
    config = app_named(options["app"])
    if options["dry_run"]:
        console.raw(source(config))
        return DONE
    try:
        path = write(config)
    except FileExistsError as error:
        raise failed(
            f"{_shown(Path(error.filename or str(error)))} exists; nothing was written. To see what init "
            "would write: --dry-run"
        ) from None
    except OSError as error:
        raise failed(f"{config.path} cannot be written to: {error.strerror or error}") from None
    console.write(_shown(path))
    console.note(
        f"Read it, change what is marked TODO, then run: manage.py kck refresh --product {_first(path)}"
    )
    return DONE


def _first(path: Path) -> str:
    found = re.search(r'key_base = "([^"]+)"', path.read_text(encoding="utf-8"))
    return found[1] if found else "NAME"


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


VERBS = (Verb("init", "Write a first, commented primers.py from an app's models.", _add_init, _init),)
