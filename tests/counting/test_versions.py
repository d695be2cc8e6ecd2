"""Case 30: a predicate is changed by a deploy while processes of the old release still write and read."""

from __future__ import annotations

import pytest

from kck_flow import Cache
from kck_flow.changes import triggers
from tests.counting.conftest import sql
from tests.counting.versions import both, deploy, write_and_read
from tests.harness.processes import Crew

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
GENERATIONS = "SELECT count(*) FROM kck_generation WHERE key_base = 'wealthy' AND live"


@pytest.mark.once("newest")
def test_30_two_releases_write_and_read_across_a_deploy_and_its_way_back(crew: Crew, cache: Cache) -> None:
    crew.spawn(deploy, 1).result()
    assert sql(GENERATIONS) == [(1,)]
    old = [crew.spawn(write_and_read, 1, 9.0, seed) for seed in (1, 2)]
    new = crew.spawn(write_and_read, 2, 9.0, 3)  # its code is there before anybody has migrated
    crew.spawn(deploy, 2).result()
    assert sql(GENERATIONS) == [(2,)]
    crew.spawn(deploy, 1).result()  # the way back
    crew.spawn(deploy, 2).result()
    for child in (*old, new):
        told = child.result(limit=120)
        assert told["wrong"] == []
        assert told["checks"] > 20
        # Served from what is stored, and not only counted at each read.
        assert told["stored"] > 10, told
    for release in (1, 2):
        found = crew.spawn(both, release).result()
        assert found["read"] == found["counted"]
    # A day later nobody runs the old code any more.
    sql("UPDATE kck_generation SET made_at = made_at - interval '2 days'")
    crew.spawn(deploy, 2).result()
    assert sql(GENERATIONS) == [(1,)]
    found = crew.spawn(both, 1).result()  # and whoever does all the same is answered from the rows
    assert found["read"] == found["counted"]
    triggers.install("default")
    assert sql(GENERATIONS) == [(0,)]
