"""init: a first primers.py that works as it stands."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import AppConfig, apps
from django.db import models

from kck_flow import Cache, Primer
from kck_flow.management.verbs import starting
from kck_flow.mistakes import problems
from kck_flow.testing import registered
from tests.commands.conftest import kck


def declared(text: str, tmp_path: Path) -> list[type[Primer]]:
    path = tmp_path / "written_primers.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("written_primers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["written_primers"] = module
    spec.loader.exec_module(module)
    return [
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Primer) and found.__module__ == "written_primers"
    ]


@pytest.mark.django_db
def test_what_init_writes_works_as_it_stands(tmp_path: Path, customers: list[int]) -> None:
    text = kck("init", "shop", "--dry-run").out
    primers = declared(text, tmp_path)
    assert {primer.key_base for primer in primers} >= {
        "shop.customers", "shop.orders", "shop.orders_by_state", "shop.orders_of_customer",
    }  # fmt: skip
    assert "# TODO" in text
    cache = Cache.get_instance()
    with registered(*primers):
        assert [problem for primer in primers for problem in problems(primer)] == []
        assert cache.get("shop.orders") == 3
        assert cache.get("shop.orders_by_state") == {"open": 3}
        assert cache.get("shop.customers_by_country") == {None: 3}
        assert cache.get(f"shop.orders_of_customer/{customers[0]}") == 1


class Ticket(models.Model):
    """A model as people have them: a state with choices, and when it came to be."""

    NEW, OPEN, DONE = "new", "waiting for us", "done"
    state = models.CharField(max_length=20, choices=[(one, one.capitalize()) for one in (NEW, OPEN, DONE)])
    topic = models.CharField(max_length=20)
    opened_at = models.DateTimeField()

    class Meta:
        app_label = "written"
        managed = False
        db_table = "shop_author"


def test_init_makes_a_stock_of_each_choice_and_a_number_of_each_day(tmp_path: Path) -> None:
    blocks = list(starting._of_model(apps.get_app_config("shop"), Ticket, [Ticket]))
    text = "\n\n".join(blocks)
    for base in ("tickets_new", "tickets_waiting_for_us", "tickets_done", "new_tickets"):
        assert f'key_base = "shop.{base}"' in text
    assert 'Q(state="waiting for us")' in text
    assert "opened_at__gte=span.start, opened_at__lt=span.end" in text
    assert "CountByState" not in text
    ast.parse(text)


def test_a_column_of_many_choices_is_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "MOST_STOCKS", 2)
    text = "\n\n".join(starting._of_model(apps.get_app_config("shop"), Ticket, [Ticket]))
    assert "Stock" not in text
    assert "TicketCountByState" in text


@pytest.mark.parametrize("label", ["shop", "auth", "contenttypes", "kck_flow"])
def test_what_init_writes_is_tidy(label: str, tmp_path: Path) -> None:
    text = starting.source(apps.get_app_config(label))
    ast.parse(text)
    (tmp_path / "primers.py").write_text(text)
    ruff = Path(sys.executable).parent / "ruff"
    if ruff.exists():
        command = [
            str(ruff),
            "check",
            "--isolated",
            "--select",
            "E,F,W,UP",
            "--line-length",
            "120",
            str(tmp_path / "primers.py"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        command = [
            str(ruff),
            "format",
            "--isolated",
            "--check",
            "--line-length",
            "120",
            str(tmp_path / "primers.py"),
        ]
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def app_in(folder: Path) -> AppConfig:
    class Config(AppConfig):
        name = "tests.shop"
        label = "fresh"
        path = str(folder)

    return Config("tests.shop", apps.get_app_config("shop").module)


def test_init_writes_a_file_once_and_names_the_next_command(tmp_path: Path, monkeypatch) -> None:
    config = app_in(tmp_path)
    config.models, config.apps = {}, apps
    config.models_module = None
    monkeypatch.setattr(starting, "app_named", lambda name: config)
    said = kck("init", "fresh")
    assert said.code == 0
    assert said.out == f"{tmp_path / 'primers.py'}\n{tmp_path / 'test_primers.py'}\n"
    assert "manage.py kck refresh" in said.err
    assert '"fresh.answer"' in (tmp_path / "test_primers.py").read_text()
    primers = declared((tmp_path / "primers.py").read_text(), tmp_path)
    assert [primer.key_base for primer in primers] == ["fresh.answer"]
    (tmp_path / "primers.py").write_text("precious")
    again = kck("init", "fresh")
    assert again.code == 1
    assert "exists; nothing was written" in again.err
    assert (tmp_path / "primers.py").read_text() == "precious"


def test_a_package_of_primers_counts_as_one(tmp_path: Path) -> None:
    (tmp_path / "primers").mkdir()
    with pytest.raises(FileExistsError):
        starting.write(app_in(tmp_path))


def test_installed_packages_are_left_alone() -> None:
    said = kck("init", "auth")
    assert said.code == 1
    assert "installed package" in said.err
    assert not (Path(apps.get_app_config("auth").path) / "primers.py").exists()


@pytest.mark.parametrize(
    ("name", "near"), [("shp", "'shop'"), ("tests.shp", "'tests.shop'"), ("nowhere-at-all", "There are:")]
)
def test_an_unknown_app_names_the_nearest(name: str, near: str) -> None:
    said = kck("init", name)
    assert said.code == 2
    assert near in said.err
    assert kck("init").code in (1, 2)
