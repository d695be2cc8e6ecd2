"""The parts of the reference that the code knows itself: settings, attributes, tables, commands.

Each is a directive without content, ``{kck-settings}`` and so on, that writes Markdown from what is declared
and has it parsed in its place.
"""

from __future__ import annotations

import argparse
import re
import textwrap
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ATTRIBUTES = tomllib.loads((Path(__file__).parent / "attributes.toml").read_text())
# What every management command takes, and no reader of a verb's usage needs to be told.
BASE_OPTIONS = (
    "-h", "--version", "--settings SETTINGS", "--pythonpath PYTHONPATH", "--traceback", "--no-color",
    "--force-color", "--skip-checks", "-v {0,1,2,3}",
)  # fmt: skip


def shown(value: Any) -> str:
    """Return a default as a reader would write it."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        for name, size in (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
            if seconds and not seconds % size:
                return f"timedelta({name}={seconds / size:g})"
        return "timedelta(0)" if not seconds else f"timedelta(seconds={seconds:g})"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:_}"
    return repr(value)


def row(*cells: str) -> str:
    """Return one row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def table(*heads: str) -> list[str]:
    """Return the head of a Markdown table."""
    return [row(*heads), row(*("---" for _ in heads))]


def settings() -> Iterator[str]:
    """Every key of ``KCK_FLOW``, from ``conf.SETTINGS``."""
    from kck_flow.conf import SETTINGS

    yield from table("key", "default", "type", "meaning, unit")
    for name, setting in SETTINGS.items():
        kinds = {
            int: "int",
            float: "float",
            str: "text",
            bool: "bool",
            list: "list",
            tuple: "list",
            dict: "dict",
        }
        names = list(dict.fromkeys(kinds[kind] for kind in setting.kinds))
        yield row(f"`{name}`", f"`{shown(setting.default)}`", " or ".join(names), setting.text)


def attributes() -> Iterator[str]:
    """Every attribute of a primer: its default from the class, its meaning from ``attributes.toml``."""
    from kck_flow import Primer
    from kck_flow.codec import JSON
    from kck_flow.primer import UNSET

    for title, meanings in ATTRIBUTES.items():
        yield from ("", f"### {title}", "")
        yield from table("attribute", "default", "unit", "meaning")
        for name, (unit, meaning) in meanings.items():
            default = getattr(Primer, name)
            if default is UNSET:
                text = "as `hard_expire`"
            else:
                text = "`JSON`" if default is JSON else f"`{shown(default)}`"
            yield row(f"`{name}`", text, unit, meaning)


def tables() -> Iterator[str]:
    """Every table: what a row is, its columns."""
    from django.apps import apps

    for model in apps.get_app_config("kck_flow").get_models():
        meta = model._meta
        yield from ("", f"## `{meta.db_table}` · `{model.__name__}`", "", (model.__doc__ or "").strip(), "")
        yield from table("column", "type", "")
        for field in meta.concrete_fields:
            if field.get_internal_type() == "CompositePrimaryKey":
                continue
            notes = [
                word
                for word, holds in (
                    ("primary key", field.primary_key),
                    ("unique", field.unique and not field.primary_key),
                    ("indexed", field.db_index and not field.unique),
                    ("may be NULL", field.null),
                )
                if holds
            ]
            kind = field.get_internal_type().removesuffix("Field")
            yield row(f"`{field.column}`", kind, ", ".join(notes))


def _verbs() -> tuple[argparse.ArgumentParser, argparse._SubParsersAction[argparse.ArgumentParser]]:
    from django.core.management import load_command_class

    parser = load_command_class("kck_flow", "kck").create_parser("manage.py", "kck")
    return parser, next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )


def verbs() -> Iterator[str]:
    """Every verb of ``manage.py kck`` in one line."""
    _, found = _verbs()
    yield from table("verb", "what it does")
    for choice in found._choices_actions:
        yield row(f"[`{choice.dest}`](#kck-{choice.dest})", choice.help or "")


def commands() -> Iterator[str]:
    """Every verb of ``manage.py kck`` with its options, from its ``--help``."""
    parser, found = _verbs()
    helps = {choice.dest: choice.help for choice in found._choices_actions}
    own = {option for action in parser._actions for option in action.option_strings}
    for verb, sub in found.choices.items():
        yield from ("", f"(kck-{verb})=", "", f"## `kck {verb}`", "", helps[verb] or "", "")
        usage = " ".join(sub.format_usage().removeprefix("usage: ").split())
        for option in BASE_OPTIONS:
            usage = usage.replace(f" [{option}]", "")
        # An option and its argument stay on one line.
        kept = re.sub(r"\[[^]]*\]", lambda part: part[0].replace(" ", "\0"), usage)
        lines = textwrap.wrap(
            kept, 78, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
        )
        yield from ("```text", *(line.replace("\0", " ") for line in lines), "```", "")
        rows = [
            row(f"`{', '.join(action.option_strings) or action.metavar or action.dest}`", action.help or "")
            for action in sub._actions
            if action.help != argparse.SUPPRESS and not set(action.option_strings) & own
        ]
        if rows:
            yield from (*table("argument", "meaning"), *rows)


def errors() -> Iterator[str]:
    """The tree of errors, each with the built-in error that it is as well."""
    from kck_flow.errors import KckFlowError

    def below(error: type[Exception], indent: str) -> Iterator[str]:
        children = [one for one in error.__subclasses__() if one.__module__ == KckFlowError.__module__]
        for number, child in enumerate(children):
            last = number == len(children) - 1
            also = [base.__name__ for base in child.__bases__ if not issubclass(base, KckFlowError)]
            shown = f" ({', '.join(also)})" if also else ""
            yield f"{indent}{'└── ' if last else '├── '}{child.__name__}{shown}"
            yield from below(child, indent + ("    " if last else "│   "))

    yield from ("```text", KckFlowError.__name__, *below(KckFlowError, ""), "```")


def addresses() -> Iterator[str]:
    """The addresses of the API that every project has, from its OpenAPI document."""
    from kck_flow.api.openapi import general_paths

    yield from table("", "address", "what it does", "besides 200, 201, 202, 204")
    for path, item in general_paths().items():
        for verb, operation in item.items():
            statuses = ", ".join(status for status in operation["responses"] if int(status) >= 300)
            yield row(f"`{verb.upper()}`", f"`{path}`", operation["summary"], statuses)


def statuses() -> Iterator[str]:
    """What each status of the API means."""
    from kck_flow.api.openapi import STATUSES

    yield from table("status", "when")
    for status, text in STATUSES.items():
        yield row(str(status), text)


def parameters() -> Iterator[str]:
    """The parameters of an address, from its OpenAPI document."""
    from kck_flow.api.openapi import general_paths

    yield from table("parameter", "what it says", "values")
    seen = set()
    for item in general_paths().values():
        for one in (one for operation in item.values() for one in operation["parameters"]):
            if one["in"] == "query" and one["name"] not in seen:
                seen.add(one["name"])
                schema = one["schema"]
                bounds = f"{schema['minimum']} to {schema['maximum']}" if "maximum" in schema else ""
                values = ", ".join(
                    f"`{value}`" for value in schema.get("enum") or schema.get("examples") or ()
                )
                yield row(f"`{one['name']}`", one["description"], values or bounds)


PARTS = {
    "addresses": addresses,
    "statuses": statuses,
    "parameters": parameters,
    "errors": errors,
    "settings": settings,
    "attributes": attributes,
    "tables": tables,
    "verbs": verbs,
    "commands": commands,
}


class Generated(SphinxDirective):
    """Writes what its part yields, parsed as Markdown."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        part = self.name.removeprefix("kck-")
        lines = list(PARTS[part]())
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(
            StringList(lines, f"<{self.name}>"), self.content_offset, node, match_titles=True
        )
        return node.children


_RETURNS = re.compile(r"(?m)^Returns:\n((?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)")


def say_returns(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Write a docstring's ``Returns:`` as a field, before napoleon takes the words up to its colon for a type."""
    text = _RETURNS.sub(lambda found: f":returns: {found[1].strip()}\n\n", "\n".join(lines))
    lines[:] = text.split("\n")


def dash(app: Sphinx, doctree: nodes.document) -> None:
    """Set the dashes that Sphinx spells with two hyphens between a name and its meaning."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def setup(app: Sphinx) -> dict[str, Any]:
    for part in PARTS:
        app.add_directive(f"kck-{part}", Generated)
    app.connect("autodoc-process-docstring", say_returns, priority=400)  # napoleon comes at 500
    app.connect("doctree-read", dash)
    return {"parallel_read_safe": True}
