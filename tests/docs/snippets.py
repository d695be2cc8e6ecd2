"""The code in README.md and docs/, found and run as a reader would run it.

A page is one sitting: its blocks run in order, on the test database, and what one defines the next can use.

===========================  ==============================================================================
```python                    run. A first line ``# shop/primers.py`` says in which file it stands: it becomes
                             that module, its primers are registered, and ``manage.py check`` must be silent
``# settings.py``            a fragment of the settings, in force for the rest of the page
``# shop/models.py``         each line must stand in ``tests/shop/models.py``
```pycon                     a session; what it prints is compared (``...`` stands for anything)
```console                   lines after ``$``: ``python manage.py`` is run, and what it prints compared if shown
===========================  ==============================================================================

What a reader need not see stands in HTML comments:

``<!-- test: skip: WHY -->``     before a block: not run
``<!-- test: exit 1 -->``        before a console block: the exit code that its last command ends with
``<!-- test: background: LINE -->`` the same, in the tutorial: a program that stays, ready once it says LINE
``<!-- test: until: TEXT -->``   the same, in the tutorial: asked again and again until it prints TEXT
``<!-- test: run``               and Python up to ``-->``: run here, as if it were a block
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import inspect
import io
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import override_settings

from kck_flow import testing
from kck_flow.primer import names_of
from kck_flow.registry import registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"python", "pycon", "console"}

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^\n`]*)$")
_FILE = re.compile(r"# (?P<path>[\w/]+\.py)$")
_DIRECTIVE = re.compile(r"<!-- test: (?P<what>skip: .+|exit \d+|background: .+|until: .+) -->")
SESSION = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One piece of code on a page. ``line`` is that of its first line, from 1."""

    page: Path
    line: int
    language: str
    text: str
    directive: str = ""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """The file that its first line names, or the empty text."""
        found = _FILE.match(self.text.partition("\n")[0])
        return found["path"] if found else ""


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order, hidden ones included."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    number, directive = 0, ""
    while number < len(lines):
        line = lines[number]
        number += 1
        fence = _FENCE.match(line)
        if fence:
            begin, end = number, f"{fence['indent']}{fence['ticks']}"
            while number < len(lines) and lines[number].rstrip() != end:
                number += 1
            info = fence["info"].strip()
            if info in LANGUAGES:
                text = textwrap.dedent("\n".join(lines[begin:number]))
                found.append(Block(page, begin + 1, info, text, directive))
            number += 1
            directive = ""
        elif line.strip() == "<!-- test: run":
            begin = number
            while lines[number].strip() != "-->":
                number += 1
            found.append(Block(page, begin + 1, "python", "\n".join(lines[begin:number])))
            number += 1
        elif told := _DIRECTIVE.match(line.strip()):
            directive = told["what"]
        elif line.strip():
            directive = ""
    return found


@dataclass
class Sitting:
    """A reader at work: the names known so far, the modules made, the settings in force."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    modules: dict[str, ModuleType] = field(default_factory=dict)
    settings: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def run(self, block: Block) -> None:
        """Run one block. Raises what it raises; an AssertionError says what was printed instead."""
        if block.directive.startswith("skip"):
            return
        if block.language == "pycon":
            self._session(block)
        elif block.language == "console":
            self._console(block)
        elif block.file == "settings.py":
            self._settings(block)
        elif block.file.endswith("models.py"):
            _same_models(block)
        elif block.file:
            self._module(block)
        else:
            self._execute(block, self.names)

    def _execute(self, block: Block, names: dict[str, Any], file: Path | None = None) -> None:
        if file is None:
            file = self.folder / f"{block.page.stem}.py"
            above = block.line - 1  # empty lines, so that a traceback has the page's line numbers
            file.write_text("\n" * above + block.text + "\n")
        else:
            known = file.read_text() if file.exists() else ""
            above = known.count("\n")
            file.write_text(f"{known}{block.text}\n")
        code = compile(
            "\n" * above + block.text,
            str(file),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        if code.co_flags & inspect.CO_COROUTINE:
            # Not asyncio.run: Django's connections stay those of this thread.
            async_to_sync(_awaited)(eval(code, names))
        else:
            exec(code, names)

    def _module(self, block: Block) -> None:
        name = block.file.removesuffix(".py").replace("/", ".")
        module = self.modules.get(name)
        if module is None:
            module = self.modules[name] = sys.modules[name] = ModuleType(name)
            # A file, since checks and explanations say where a primer stands.
            module.__file__ = str(self.folder / block.file)
            Path(module.__file__).parent.mkdir(parents=True, exist_ok=True)
        before = set(registry.classes)
        known = dict(vars(module))
        self._execute(block, vars(module), Path(str(module.__file__)))
        for made in vars(module).values():
            # A page may say a primer anew; the old one goes.
            if isinstance(made, type) and made not in known.values() and names_of_or_none(made):
                for old in before:
                    if set(names_of(old)) & set(names_of(made)):
                        registry.withdraw(old)
        registry.register_module(module)
        _checked(block)
        self.names.update({key: value for key, value in vars(module).items() if not key.startswith("__")})

    def _settings(self, block: Block) -> None:
        from django.conf import settings

        named = {name: getattr(settings, name) for name in ("INSTALLED_APPS", "DATABASES", "MIDDLEWARE")}
        given: dict[str, Any] = {name: type(value)(value) for name, value in named.items()}
        self._execute(block, given)
        # Only our own, and what checks ask for: apps and databases cannot change while a process runs.
        ours = ("KCK_FLOW", "SILENCED_SYSTEM_CHECKS", "ASGI_APPLICATION")
        changed = {name: given[name] for name in ours if name in given}
        self.settings.enter_context(override_settings(**changed))
        _checked(block)

    def _session(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.text + "\n", self.names, block.where, block.where, 0)
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=SESSION)
        runner.run(test, out=said.append, clear_globs=False)
        self.names.update(test.globs)
        assert not runner.failures, "".join(said)

    def _console(self, block: Block) -> None:
        for command, expected in commands(block.text):
            words = shlex.split(command, comments=True)
            if words[:2] != ["python", "manage.py"]:
                raise AssertionError(f"{block.where}: cannot run {command!r}; skip it, and say why")
            code, out, err = manage(*words[2:])
            wanted = int(block.directive.removeprefix("exit ")) if block.directive else 0
            assert code == wanted, f"{block.where}: {command!r} ended with {code}, not {wanted}.\n{out}{err}"
            printed = out + err if expected and code else out
            if expected and not doctest.OutputChecker().check_output(expected, printed, SESSION):
                raise AssertionError(
                    f"{block.where}: {command!r} printed\n{textwrap.indent(printed, '    ')}\n"
                    f"and the page says\n{textwrap.indent(expected, '    ')}"
                )


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield (command, what the page shows of its output) of a console block."""
    joined = text.replace("\\\n", " ")
    command: str | None = None
    shown: list[str] = []
    for line in [*joined.splitlines(), "$ "]:
        if line.startswith("$ "):
            if command is not None:
                yield command, "".join(f"{one}\n" for one in shown)
            command, shown = line[2:].strip(), []
        elif command is not None:
            shown.append(line)


def manage(*words: str) -> tuple[int, str, str]:
    """Run a management command here; return (exit code, stdout, stderr)."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            call_command(*words, stdout=out, stderr=err)
        except CommandError as error:
            code = error.returncode
            err.write(f"{error}\n")
        except SystemExit as error:
            code = error.code or 0
    return int(code), out.getvalue(), err.getvalue()


async def _awaited(code: Any) -> None:
    await code


def names_of_or_none(made: Any) -> tuple[str, ...]:
    """Return the key bases of a primer class; none for anything else."""
    from kck_flow import Primer

    return names_of(made) if issubclass(made, Primer) else ()


def in_a_test_of_its_own(suite: Any, result: Any) -> None:
    """Run a unittest suite inside a page's test, whose database it shares."""
    suite.run(result)


def _checked(block: Block) -> None:
    wrong = [found for found in run_checks(tags=["kck"]) if not found.is_silenced()]
    assert not wrong, f"{block.where}: manage.py check says:\n" + "\n".join(map(str, wrong))


def _same_models(block: Block) -> None:
    """The pages' models are those of the test app: each line of them stands there."""
    own = {line.strip() for line in (ROOT / "tests" / "shop" / "models.py").read_text().splitlines()}
    for number, line in enumerate(block.text.splitlines()):
        told = line.split("  #")[0].strip()
        if told and not told.startswith(("#", '"""')):
            assert told in own, (
                f"{block.page.name}:{block.line + number}: tests/shop/models.py has no {told!r}"
            )


@contextlib.contextmanager
def sitting(folder: Path) -> Iterator[Sitting]:
    """Sit down with a project whose one app is called ``shop``; leave everything as it was."""
    import tests.shop
    import tests.shop.models

    before = dict(sys.modules)
    sys.modules["shop"], sys.modules["shop.models"] = tests.shop, tests.shop.models
    declared, dashboards = list(registry.classes), dict(registry.dashboards)
    testing.reset()
    reader = Sitting(folder)
    try:
        yield reader
    finally:
        reader.settings.close()
        registry.dashboards = dashboards
        for one in set(registry.classes) - set(declared):
            registry.withdraw(one)
        for one in declared:  # what a page has said anew is again what it was
            registry.register(one)
        for name in [*reader.modules, "shop", "shop.models"]:
            if name in before:
                sys.modules[name] = before[name]
            else:
                sys.modules.pop(name, None)
        testing.reset()
