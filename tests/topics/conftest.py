"""What the tests of topics share."""

from __future__ import annotations

from tests.core.conftest import (  # noqa: F401
    Declared,
    _nothing_left_over,
    cache,
    declare,
    threads,
)
