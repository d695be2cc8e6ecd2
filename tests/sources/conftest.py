"""One broker of each kind for the whole run; each test has a queue, stream or subject of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.nats import NATSServer, nats_server
from tests.harness.redis import RedisServer, redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with redis(keeps=True) as server:
        yield server


@pytest.fixture(scope="session")
def nats() -> Iterator[NATSServer]:
    with nats_server() as server:
        yield server
