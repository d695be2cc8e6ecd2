"""The command, called here and as a process of its own, among the bakery's primers."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from kck_flow.primer import Primer
from kck_flow.registry import registry
from kck_flow.testing import registered, reset
from tests.commands.bakery import primers as bakery_primers
from tests.harness.daemons import ROOT
from tests.harness.processes import database_url_of
from tests.shop.models import Customer, Order

SETTINGS = "tests.commands.settings"
# Importing the module has registered the scheduled function, as everywhere; here it is known to these tests alone.
SWEEP = type(registry.primer("sweep"))
registry.withdraw(SWEEP)
DECLARED = [
    *(
        found
        for found in vars(bakery_primers).values()
        if isinstance(found, type)
        and issubclass(found, Primer)
        and found.__module__ == bakery_primers.__name__
        # It takes a minute: only for processes, which can be stopped.
        and found is not bakery_primers.Slow
    ),
    SWEEP,
]


@dataclass(frozen=True)
class Said:
    """What a command did: its exit code, its data, what it said about the work."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> Any:
        """Its data, read as JSON."""
        import json

        return json.loads(self.out)


def kck(*arguments: Any) -> Said:
    """Call the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code, error = 0, ""
    try:
        call_command("kck", *map(str, arguments), stdout=out, stderr=err)
    except CommandError as raised:
        code, error = raised.returncode, str(raised)
    except SystemExit as left:
        code = int(left.code or 0)
    return Said(code, out.getvalue(), err.getvalue() + error)


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that works on the test's database, with the bakery."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "DATABASE_URL": database_url_of("default"),
        **more,
    }


def run(*arguments: Any, stdin: str = "", env: dict[str, str] | None = None) -> Said:
    """Run the command in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        env=environment(**(env or {})),
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def command(*arguments: Any) -> Sequence[str]:
    return [sys.executable, "manage.py", "kck", *map(str, arguments)]


@pytest.fixture
def bakery() -> Iterator[None]:
    """The bakery's primers, declared in this process for one test."""
    with registered(*DECLARED):
        yield
    reset()


@pytest.fixture
def customers() -> list[int]:
    """Three customers with some orders: their primary keys; they have paid 100, 200 and 300."""
    found = []
    for number, name in enumerate(("Ada", "Bo", "Cy"), 1):
        customer = Customer.objects.create(name=name)
        Order.objects.create(customer=customer, cents=100 * number)
        found.append(customer.pk)
    return found
