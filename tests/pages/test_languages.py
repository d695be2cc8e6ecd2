"""The pages in another language: all of it, numbers and dates too; what programs get is the same in each."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.template.loader import get_template
from django.test import Client, override_settings
from django.utils import translation

from kck_flow import wording
from tests.pages.conftest import ROOT
from tests.pages.test_overview import text_of

TOOLS = Path(__file__).parent.parent.parent / "tools"
LANGUAGES = [
    path.parent.parent.name for path in (TOOLS.parent / "kck_flow/locale").glob("*/LC_MESSAGES/django.po")
]
IN_GERMAN = {
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """A language that a request was answered in would be that of the next without one."""
    yield
    translation.deactivate()


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    import messages

    yield messages
    sys.modules.pop("messages", None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_complete_and_compiled(messages: Any, language: str) -> None:
    from babel.messages.pofile import read_po

    path = messages.PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"
    with path.open("rb") as file:
        catalog = read_po(file, locale=language, charset="utf-8")
    texts = messages.collected()
    assert len(list(texts)) > 400
    assert messages.problems(catalog, texts, path.with_suffix(".mo")) == []


def test_what_is_missing_wrong_or_not_compiled_is_told(messages: Any, tmp_path: Path) -> None:
    from babel.messages.catalog import Catalog

    texts = Catalog()
    texts.add("%(count)s left", None)
    texts.add(("%(n)s row", "%(n)s rows"), None)
    texts.add("Apply")
    own = Catalog(locale="de")
    own.add("%(count)s left", "noch %(cuont)s")
    own.add(("%(n)s row", "%(n)s rows"), ("%(n)s Zeile", ""))
    own.add("Gone", "Weg")
    told = messages.problems(own, texts, tmp_path / "django.mo")
    assert [one.partition(":")[0] for one in told] == [
        "other placeholders", "not translated", "missing", "no text any more",
        "django.mo is not what the .po says",
    ]  # fmt: skip


@pytest.mark.django_db
def test_a_page_is_german_with_its_numbers_and_dates(history: Any, client: Client, staff: Client) -> None:
    with override_settings(**IN_GERMAN):
        english = text_of(staff.get(f"{ROOT}metrics/p_signups", headers={"Accept-Language": "en"}))
        response = staff.get(f"{ROOT}metrics/p_signups", headers={"Accept-Language": "de"})
        german = text_of(response)
    assert '<html lang="de"' in german
    for here, there in {
        "Überblick": "Overview",
        "Zeitraum": "Range",
        "Dasselbe als Tabelle": "The same as a table",
        "läuft noch": "in progress",
        "an 30 Tagen": "in 30 days",
    }.items():
        assert here in german
        assert there not in german.replace("data-", "")
        assert there in english
    assert re.search(r"\d+\. (Februar|März)", german)
    assert "Accept-Language" in response["Vary"]


@pytest.mark.django_db
def test_what_programs_get_is_the_same_in_each_language(history: Any, staff: Client) -> None:
    with override_settings(**IN_GERMAN):
        for place in ("metrics/p_signups.json", "metrics/p_signups.csv", "products/p_share.csv"):
            bodies = set()
            for language in ("en", "de"):
                response: Any = staff.get(ROOT + place, headers={"Accept-Language": language})
                body = b"".join(response.streaming_content) if response.streaming else response.content
                bodies.add(body)
            assert len(bodies) == 1, place


def test_numbers_are_written_as_the_language_writes_them() -> None:
    with translation.override("de"):
        assert wording.number(1234.5, "number", 1) == "1.234,5"
        assert wording.number(0.123, "percent", 1) == "12,3 %"
    with translation.override("en"):
        assert wording.number(1234.5, "number", 1) == "1,234.5"


def test_every_template_can_be_read_in_every_language() -> None:
    for language in LANGUAGES:
        with translation.override(language):
            for path in (TOOLS.parent / "kck_flow/templates/kck_flow").glob("*.html"):
                get_template(f"kck_flow/{path.name}")
