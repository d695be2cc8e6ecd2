from __future__ import annotations

from collections.abc import Iterator

import pytest

from kck_flow.testing import kck_cache as kck_cache
from kck_flow.testing import reset
from tests.primers.loopback import Loopback


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on this machine is asked directly, whatever proxies its environment names."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def _nothing_left_over() -> Iterator[None]:
    """What a test's writes have to be drained some time later must not come in the middle of another's."""
    yield
    reset()


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Loopback]:
    """Another server: another port, hence another origin."""
    with Loopback() as server:
        yield server
