"""The reference is complete, and its links lead somewhere. What it generates from the code needs no test."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pytest

import kck_flow
from kck_flow import errors, testing
from kck_flow.conf import SETTINGS
from kck_flow.primer import HOOKS, Primer
from tests.docs.snippets import PAGES, ROOT

REFERENCE = ROOT / "docs" / "reference"
SOURCE = Path(kck_flow.__file__).parent


def _page(name: str) -> str:
    return (REFERENCE / name).read_text()


def _all_pages() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def test_every_attribute_of_a_primer_is_described_and_none_is_invented() -> None:
    groups = tomllib.loads((ROOT / "docs" / "_ext" / "attributes.toml").read_text())
    described = [name for group in groups.values() for name in group]
    declared = [name for name in Primer.__annotations__ if not name.startswith("_")]
    assert sorted(described) == sorted(declared)


def test_every_public_name_has_its_place() -> None:
    reference = "\n".join(page.read_text() for page in REFERENCE.glob("*.md"))
    missing = [name for name in kck_flow.__all__ if f":: kck_flow.{name}\n" not in reference]
    assert not missing


def test_every_helper_for_tests_has_its_place() -> None:
    own = [
        name
        for name, value in vars(testing).items()
        if getattr(value, "__module__", "") == testing.__name__
        and not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and not name.startswith("kck_")
    ]
    page = _page("testing.md")
    assert [name for name in own if f"kck_flow.testing.{name}\n" not in page] == []
    assert [name for name in vars(testing) if name.startswith("kck_") and f"`{name}`" not in page] == []


def test_every_error_has_its_place() -> None:
    page = _page("errors.md")
    own = [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    assert [name for name in own if f"kck_flow.errors.{name}\n" not in page] == []


def test_every_hook_has_its_place() -> None:
    page = _page("hooks.md")
    names = [f"{when}_{what}" for what in HOOKS for when in ("pre", "post")] + ["post_record"]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_check_has_its_place() -> None:
    told = set(re.findall(r"kck_flow\.[EWI]\d+", (SOURCE / "checks.py").read_text()))
    told |= set(re.findall(r"kck_flow\.[EWI]\d+", (SOURCE / "deployment.py").read_text()))
    assert set(re.findall(r"`(kck_flow\.[EWI]\d+)`", _page("checks.md"))) == told


def test_every_log_event_has_its_place_and_none_is_invented() -> None:
    call = re.compile(r"""logger\.\w+\([^"']*["']([a-z]+\.[a-z_]+)[ "':]""")
    logged = {event for file in SOURCE.rglob("*.py") for event in call.findall(file.read_text())}
    told = set(re.findall(r"`([a-z]+\.[a-z_]+)`", re.sub(r"(?m)^(?!\|).*$", "", _page("log-events.md"))))
    assert told == logged


def test_every_setting_that_a_page_names_exists() -> None:
    named = set(re.findall(r"KCK_FLOW\[['\"](\w+)['\"]\]", _all_pages()))
    named |= set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", _all_pages()))
    others = {  # what is Django's, or the environment's
        "ASGI_APPLICATION", "ATOMIC_REQUESTS", "DATABASE_URL", "DO_NOTHING", "KCK_FLOW", "KCK_FLOW_CLOCK_OFFSET",
        "KEY_FUNCTION", "KEY_PREFIX", "LANGUAGE_CODE",
        "SECRET_KEY", "SET_NULL", "SILENCED_SYSTEM_CHECKS", "TIME_ZONE",
    }  # fmt: skip
    assert named - others <= set(SETTINGS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target} leads nowhere"
        if anchor:
            heads = re.findall(r"(?m)^#+ (.+)$", file.read_text())
            anchors = [re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads]
            assert anchor in anchors, f"{page.name}: {file.name} has no heading {anchor!r}"


def test_the_files_that_show_the_checks_are_there() -> None:
    text = (ROOT / "docs/explanation/checks.md").read_text()
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_what_the_readme_says_it_needs_is_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    readme = (ROOT / "README.md").read_text()
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in readme
    (django,) = [one for one in project["dependencies"] if one.lower().startswith("django>")]
    assert f"Django {django.partition('>=')[2]} or newer" in readme
