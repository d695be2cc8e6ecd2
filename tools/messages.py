"""The texts of the pages, in other languages: ``python tools/messages.py`` collects and compiles them.

They are collected from the package's modules and templates into ``kck_flow/locale/<language>/LC_MESSAGES/django.po``;
what is translated there stays. ``--check`` changes nothing and exits 1 where a text is missing, untranslated or not
compiled. Nothing of the system's gettext is needed: Babel reads and writes its files.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kck_flow.drawing.coverage import STATES  # noqa: E402 - the package beside this folder

PACKAGE = ROOT / "kck_flow"
KEYWORDS: dict[str, Any] = {
    "_": None, "gettext": None, "gettext_lazy": None, "gettext_noop": None,
    "ngettext": (1, 2), "ngettext_lazy": (1, 2), "pgettext": ((1, "c"), 2), "npgettext": ((1, "c"), 2, 3),
}  # fmt: skip
PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]|%[sd]|\{(\w*)\}")


def of_templates() -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    """Yield the texts of templates, each with its context."""
    from django.conf import settings

    if not settings.configured:
        settings.configure(USE_I18N=True)
    from django.utils.translation.template import templatize

    for path in sorted((PACKAGE / "templates").rglob("*.html")):
        text = templatize(path.read_text(), origin=str(path)).encode()
        for _line, message, _comments, context in extract("python", io.BytesIO(text), keywords=KEYWORDS):
            yield message, context


def of_modules() -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    """Yield the texts of modules, each with its context; also of f-strings, in which some Pythons find no tokens."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name not in KEYWORDS:
                continue
            given = [
                one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            context = given.pop(0) if "pgettext" in name and given else None
            wanted = 2 if "ngettext" in name or "npgettext" in name else 1
            if len(given) >= wanted:
                yield (given[0] if wanted == 1 else tuple(given[:2])), context


def collected() -> Catalog:
    """Return all texts, untranslated."""
    found = Catalog(project="kck-flow", charset="utf-8")
    for message, context in (*of_modules(), *of_templates()):
        if message and (message[0] if isinstance(message, tuple) else message):
            found.add(message, context=context)
    for message in (*counted(), *drawn()):
        found.add(message)
    return found


def counted() -> Iterator[tuple[str, str]]:
    """Yield the texts that ``wording.count`` is given, in pairs."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for each in ast.walk(ast.parse(path.read_text())):
            if not isinstance(each, ast.Call) or len(each.args) != 3:
                continue
            name = each.func.attr if isinstance(each.func, ast.Attribute) else getattr(each.func, "id", "")
            texts = [one.value for one in each.args[1:] if isinstance(one, ast.Constant)]
            # The commands have one of their own, which is as English as they are.
            if name == "count" and len(texts) == 2 and all("%(count)s" in str(one) for one in texts):
                yield str(texts[0]), str(texts[1])


def drawn() -> Iterator[str | tuple[str, str]]:
    """Yield the texts of pictures, which are translated as they are drawn: all that has a named place, in pairs where
    it is counted, and the states of a time frame.
    """
    for path in sorted((PACKAGE / "drawing").glob("*.py")):
        tree = ast.parse(path.read_text())
        parts = {
            id(one) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for one in ast.walk(each)
        }
        parts |= {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}  # docstrings
        for each in ast.walk(tree):
            forms = (
                [each] if isinstance(each, ast.Constant) else each.elts if isinstance(each, ast.Tuple) else []
            )
            texts = [
                one.value for one in forms if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            if (
                len(texts) != len(forms)
                or id(each) in parts
                or not all(re.search(r"\{[a-z]+\}", one) for one in texts)
            ):
                continue
            if len(texts) == 2 and "{count}" in texts[0]:
                parts |= {id(one) for one in forms}
                yield texts[0], texts[1]
            elif len(texts) == 1:
                yield texts[0]
    yield from STATES


def problems(catalog: Catalog, texts: Catalog, compiled: Path) -> list[str]:
    """Return what keeps a language from being complete, in sentences."""
    wrong = []
    for message in texts:
        if not message.id:
            continue
        own = catalog.get(message.id, message.context)
        if own is None:
            wrong.append(f"missing: {message.id!r}")
        elif own.fuzzy or not all(_texts(own)):
            wrong.append(f"not translated: {message.id!r}")
        elif any(_named(one) not in [_named(form) for form in _forms(message)] for one in _texts(own)):
            wrong.append(f"other placeholders: {message.id!r} -> {own.string!r}")
    wrong += [
        f"no text any more: {one.id!r}"
        for one in catalog
        if one.id and texts.get(one.id, one.context) is None
    ]
    made = io.BytesIO()
    write_mo(made, catalog)
    if not compiled.exists() or compiled.read_bytes() != made.getvalue():
        wrong.append(f"{compiled.name} is not what the .po says: run python tools/messages.py")
    return wrong


def _texts(message: Message) -> list[str]:
    return list(message.string) if isinstance(message.string, (tuple, list)) else [message.string or ""]


def _forms(message: Message) -> list[str]:
    return list(message.id) if isinstance(message.id, (tuple, list)) else [message.id]


def _named(text: str) -> set[str]:
    return {found[1] or found[2] or found[0] for found in PLACEHOLDER.finditer(text)}


def main() -> int:
    """Collect and compile, or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 where something is to be done"
    )
    asked = parser.parse_args()
    texts, wrong = collected(), 0
    for path in sorted((PACKAGE / "locale").glob("*/LC_MESSAGES/django.po")):
        language, compiled = path.parent.parent.name, path.with_suffix(".mo")
        with path.open("rb") as file:
            catalog = read_po(file, locale=language, charset="utf-8")
        if not asked.check:
            made_at = catalog.creation_date
            catalog.update(texts, no_fuzzy_matching=True)
            catalog.creation_date = made_at
            catalog.obsolete.clear()
            with path.open("wb") as file:
                write_po(file, catalog, width=118, sort_output=True, no_location=True, omit_header=False)
            with compiled.open("wb") as file:
                write_mo(file, catalog)
        for one in problems(catalog, texts, compiled):
            print(f"{language}: {one}")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
