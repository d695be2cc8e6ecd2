"""``init``: read an app's models and write its first ``primers.py``, with a comment on each thing worth
knowing.
"""

from __future__ import annotations

import argparse
import json
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
# A column of more values than that wants one product with all of them, and not a stock for each.
MOST_STOCKS = 6
# How people name the instant at which a row came to be.
BORN = (
    "created",
    "joined",
    "registered",
    "signed_up",
    "placed",
    "opened",
    "ordered",
    "added",
    "started",
    "date_joined",
)
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
        for name in re.findall(
            r"\b(IntegerParameter|StringParameter|UUIDParameter|On|Primer|Key|Stock|Metric)\b", block
        )
    }
    parts = [
        _head(
            config,
            shown,
            needed,
            [name for name in ("Count", "Q") if any(f"{name}(" in block for block in blocks)],
        ),
        *blocks,
    ]
    if len(found) > MOST:
        names = ", ".join(model.__name__ for model in found[MOST:])
        parts.append(f"# TODO: nothing was written for {names}.\n")
    parts.append(_tail())
    return "\n\n".join(parts)


def _head(config: AppConfig, shown: list[Model], needed: set[str], expressions: list[str]) -> str:
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
    if expressions:
        lines.append(f"from django.db.models import {', '.join(expressions)}")
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
    values = _choices(field)
    unit, called, column = (
        str(model._meta.verbose_name),
        str(getattr(field, "verbose_name", "")),
        getattr(field, "name", ""),
    )
    for value, text in values:
        yield f'''class {_camel(plural)}{_named(value)}(Stock):
    """{_capital(many)} whose {called} is {text}, counted by the database with each commit."""

    # TODO: keep the ones that you want to look at. facets = [Facet("...")] counts them by another column besides.
    key_base = "{label}.{plural}_{_slug(value)}"
    label, unit, unit_plural = "{_capital(many)}: {text}", "{unit}", "{many}"
    model, members = {name}, Q({column}={json.dumps(value, ensure_ascii=False)})
'''
    born = _born(model)
    if born is not None:
        yield f'''class New{_camel(plural)}(Metric):
    """How many {many} were new, day by day; any day that is past can be told, since the rows carry dates."""

    key_base = "{label}.new_{plural}"
    label, unit, unit_plural, good = "New {many}", "{unit}", "{many}", "up"

    def compute(self, key: Key, span):
        return {name}.{manager}.filter({born.name}__gte=span.start, {born.name}__lt=span.end).count()
'''
    if field is not None and not values:
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


def _choices(field: models.Field[Any, Any] | None) -> list[tuple[Any, str]]:
    """Return the declared values of a column, each with its text; none where they are too many, or have no names."""
    flat = list(field.flatchoices) if field is not None and field.choices else []
    named = {_named(value) for value, _ in flat}
    simple = all(isinstance(value, (str, int)) for value, _ in flat)
    if len(flat) > MOST_STOCKS or len(named) < len(flat) or "" in named or not simple:
        return []
    return [(value, str(text).replace('"', "'")) for value, text in flat]


def _slug(value: Any) -> str:
    """Return a value as the end of a key base; empty where it cannot be one."""
    return re.sub(r"[^0-9a-zA-Z]+", "_", str(value)).strip("_").lower()


def _named(value: Any) -> str:
    """Return a value as the end of a class's name; empty where it cannot be one."""
    return _camel(_slug(value))


def _born(model: Model) -> models.Field[Any, Any] | None:
    """Return the column that says when a row came to be; None where none seems to."""
    fields = [field for field in model._meta.concrete_fields if isinstance(field, models.DateTimeField)]
    made = [field for field in fields if field.auto_now_add]
    named = [
        field
        for field in fields
        if field.name in BORN or field.name.removesuffix("_at").removesuffix("_on") in BORN
    ]
    return next(iter([*made, *named]), None)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


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


def write_test(config: AppConfig, primers: str) -> Path | None:
    """Write a first test of an app's products beside them; return its path, None where there is one."""
    path = Path(config.path) / "test_primers.py"
    # Those that need no parameters: what others need is the project's to say.
    keys = [
        found[1]
        for block in primers.split("\n\n\n")
        if (found := re.search(r'key_base = "([^"]+)"', block)) and "parameters = [" not in block
    ]
    listed = "".join(f'    "{key}",\n' for key in keys)
    text = f'''"""The products of {config.label}: each can be had, and asking again computes nothing."""

from django.test import TestCase
from kck_flow import Cache

KEYS = [
{listed}]


class ProductTests(TestCase):
    def test_each_product_can_be_had(self):
        cache = Cache.get_instance()
        for key in KEYS:
            with self.subTest(key):
                self.assertIsNotNone(cache.get(key))
                self.assertEqual(cache.get(key), cache.get(key))
'''
    try:
        with open(path, "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        return None
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
    test = write_test(config, path.read_text(encoding="utf-8"))
    if test is not None:
        console.write(_shown(test))
    console.note(
        "Read it, keep what you want to look at, then run: manage.py migrate && manage.py kck refresh"
    )
    return DONE


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


VERBS = (
    Verb(
        "init",
        "Write a first, commented primers.py, and a test of it, from an app's models.",
        _add_init,
        _init,
    ),
)
