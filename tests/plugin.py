"""Loaded before everything else (`-p tests.plugin`): a database, before Django reads its settings."""

import contextlib
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import postgres


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Start a PostgreSQL for this run unless DATABASE_URL names one, as it does in the workers of xdist."""
    if not os.environ.get("DATABASE_URL") and not early_config.known_args_namespace.collectonly:
        stack = contextlib.ExitStack()
        early_config.add_cleanup(stack.close)
        os.environ["DATABASE_URL"] = stack.enter_context(postgres.server()).url
        stack.callback(os.environ.pop, "DATABASE_URL", None)
    return (yield)
