"""What the verbs of counting say to wrong input, and where the runs of a stock are."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from kck_flow import Cache
from kck_flow.management import words
from kck_flow.models import Level
from tests.accounts.models import Account, Branch

committed = pytest.mark.django_db(transaction=True)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stocks", "converting"), "'converting' is no stock"),
        (("flows", "trial"), "'trial' is no flow"),
        (("process", "trial"), "'trial' is no process"),
        (("get", "active", "--at", "0001-01-01"), "is out of range|is no instant"),
        (("get", "converting/9999-12-31T23"), "9999-12-31T23"),
        (("prune", "--events", "99999999999d"), "is too long a duration"),
    ],
)
def test_what_is_wrong_is_named_and_no_traceback_is_shown(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("kck", *arguments)


@committed
def test_a_stock_named_twice_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("kck", "stocks", "active", "active", "--format", "csv")
    assert len(capsys.readouterr().out.splitlines()) == 2


@committed
@pytest.mark.parametrize("asked", ["active", "branch_accounts/7"])
def test_the_runs_of_a_stock_are_found_by_any_of_its_keys(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Account.objects.create(state="active")
    Cache.get_instance().refresh(asked)
    call_command("kck", "runs", asked, "--format", "csv")
    assert f"!count:{asked.partition('/')[0]}" in capsys.readouterr().out


def test_the_ends_of_time_are_no_instants() -> None:
    import argparse

    for text in ("0001-01-01", "9999-12-31T23:59:59-12:00"):
        with pytest.raises(argparse.ArgumentTypeError):
            words.aware(text)


@committed
def test_refresh_of_a_family_with_parameters_counts_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where rows were changed behind the triggers: all keys are right again, by one count."""
    branches = [Branch.objects.create(name=name) for name in ("North", "South")]
    Account.objects.bulk_create([Account(state="active", branch=one) for one in branches for _ in range(3)])
    keys = [f"branch_accounts/{one.pk}" for one in branches]
    assert [Cache.get_instance().get(key)["value"] for key in keys] == [3, 3]
    Level.objects.filter(facet=0).update(n=5)
    call_command("kck", "refresh", "--product", "branch_accounts", "--format", "csv")
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert [Cache.get_instance().get(key)["value"] for key in keys] == [3, 3]
