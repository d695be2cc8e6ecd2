"""One stock or flow that is declared wrongly is named, and keeps nobody from the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core import checks
from django.core.management import call_command
from django.db.models import Q, Sum

from kck_flow import Cache, Facet, Flow, Stock
from kck_flow.changes import triggers
from kck_flow.errors import DeclarationError
from kck_flow.testing import registered
from tests.accounts.models import Account

pytestmark = pytest.mark.django_db(transaction=True)


class Right(Stock):
    """Accounts that pay."""

    key_base, model, members = "wrong_not", Account, Q(state="active")


class Measured(Stock):
    """The sum of a column that was renamed."""

    key_base, model, measure = "wrong_measure", Account, Sum("former")


class Valued(Stock):
    """Accounts of a number that is none."""

    key_base, model, members = "wrong_value", Account, Q(branch_id="x")


class Coming(Flow):
    """New accounts, by a column that was renamed."""

    key_base, sources, sinks, facets = "wrong_flow", [None], [Right], [Facet("former")]


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    with registered(Right, Measured, Valued, Coming):
        triggers.install("default")
        yield
    triggers.install("default")


def test_the_listings_tell_of_each_and_name_the_wrong_ones(capsys: pytest.CaptureFixture[str]) -> None:
    Account.objects.create(state="active")
    Cache.get_instance().refresh("wrong_not")
    call_command("kck", "stocks", "wrong_not", "wrong_measure", "wrong_value")
    right, *wrong = capsys.readouterr().out.splitlines()[1:]
    assert right.split()[:3] == ["wrong_not", "1", "yes"]
    assert [row.split()[0] for row in wrong] == ["wrong_measure", "wrong_value"]
    assert "'wrong_measure': measure: Cannot resolve keyword 'former'" in wrong[0]
    assert "'wrong_value': members: Field 'id' expected a number but got 'x'" in wrong[1]
    call_command("kck", "flows", "wrong_flow")
    assert "'wrong_flow': facet 'former': Cannot resolve keyword 'former'" in capsys.readouterr().out


def test_books_of_the_others_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    Cache.get_instance().refresh("wrong_not")
    call_command("kck", "check", "--balance", "wrong_not", "wrong_measure")
    told = capsys.readouterr().out
    assert "✓ wrong_not" in told
    assert "! wrong_measure: declared wrongly: 'wrong_measure': measure: Cannot resolve keyword" in told


def test_a_read_names_it() -> None:
    with pytest.raises(DeclarationError, match="'wrong_measure': measure: Cannot resolve keyword 'former'"):
        Cache.get_instance().get("wrong_measure")


def test_a_value_that_is_none_of_the_column_is_told_by_the_checks() -> None:
    told = {message.obj: message for message in checks.run_checks(tags=["kck"])}
    message = told[f"{__name__}.Valued"]
    assert message.id == "kck_flow.E010"
    assert "members: Field 'id' expected a number but got 'x'" in message.msg
