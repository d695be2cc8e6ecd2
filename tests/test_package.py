"""The wheel is complete: installed alone, it has every command, template and migration."""

import subprocess
import sys

import pytest

from tests.harness.daemons import ROOT


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment() -> None:
    tried = subprocess.run([sys.executable, ROOT / "tools" / "try_wheel.py"], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stdout + tried.stderr
