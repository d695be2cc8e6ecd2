"""One product, one word for how it stands, and one instant: on its tile, its page, in the API, on the command line, in
the admin (experience §10, check 16); and what is seen of a primer that fails (check 15).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from kck_flow import Cache, Primer
from kck_flow.errors import ComputeFailed
from kck_flow.testing import Clock, freeze_time, registered, reset, run_worker
from tests.admin.conftest import site as admin_site
from tests.pages.conftest import ROOT
from tests.pages.test_overview import text_of, tile

__all__ = ["admin_site"]
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = "stated_number"


class Stated(Primer):
    """Number of that day."""

    key_base, section = "stated_number", "Stated"
    soft_expire, prime_on_cache_miss = timedelta(minutes=5), False
    broken = False

    def compute(self, key: Any) -> int:
        if type(self).broken:
            raise RuntimeError("the source is out\nof order")
        return 42


@pytest.fixture
def clock(admin_site: None, db: None) -> Iterator[Clock]:
    reset()
    Stated.broken = False
    with registered(Stated), freeze_time(NOW) as stopped:
        yield stopped
    reset()


@pytest.fixture
def boss(clock: Clock, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("stated_boss"))
    return client


def computed() -> None:
    Cache.get_instance().refresh(KEY)


def fail() -> None:
    Stated.broken = True
    with pytest.raises(ComputeFailed):
        Cache.get_instance().refresh(KEY)


def begin() -> None:
    """As a worker of another process does that has claimed it and computes still."""
    Cache.get_instance().request_refresh(KEY)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE kck_refresh SET lease_until = %s, lease_owner = 'w1' WHERE key = %s",
            [datetime(2026, 3, 3, tzinfo=UTC), KEY],
        )


def a_while(clock: Clock) -> None:
    clock.move(minutes=20)


def stated(state: str, clock: Clock) -> datetime | None:
    """Bring the product into a state; returns when its value was computed, or None."""
    before, _, then = state.partition(", ")
    if before != "empty":
        computed()
        if before in ("stale", "failed", "computing"):
            a_while(clock)
    {"failed": fail, "computing": begin, "fails": fail, "computes": begin}.get(then or before, lambda: None)()
    return NOW if before != "empty" else None


def of_tile(client: Client) -> tuple[str, Any]:
    row = next(
        one for one in json.loads(text_of(client.get(f"{ROOT}overview.json")))["rows"] if one["key"] == KEY
    )
    html = tile(text_of(client.get(ROOT)), "Number of that day")
    chip = re.search(r'kck-chip-(\w+)">([^<]*)<', html)
    word = chip[2].partition(" · ")[0] if chip is not None else "fresh"
    assert (chip[1] if chip is not None else "fresh") == word == row["state"]
    return word, row["computed_at"]


def of_page(client: Client) -> tuple[str, Any]:
    html = text_of(client.get(f"{ROOT}products/{KEY}"))
    strip = dict(re.findall(r"<dt>([^<]*)</dt>\s*<dd[^>]*>([^<]*)", html))
    at = strip.get("Computed")
    return strip["State"], f"{NOW:%Y-%m-%dT}{at.split()[0]}:00+00:00" if at else None


def of_list(client: Client) -> tuple[str, Any]:
    rows = json.loads(text_of(client.get(f"{ROOT}products.json?q={KEY}")))["rows"]
    return rows[0]["state"], rows[0]["computed_at"]


def of_api(client: Client) -> tuple[str, Any]:
    response = client.get(f"{ROOT}products/{KEY}.json")
    told = json.loads(text_of(response))
    if response.status_code == 200:
        return told["meta"]["state"], told["meta"]["computed_at"]
    assert response.status_code == 503
    return told["state"], None


def command(*words: str) -> Any:
    out = StringIO()
    call_command("kck", *words, "--format", "json", stdout=out)
    told = json.loads(out.getvalue() or "[]")
    return told[0] if isinstance(told, list) and told else told


def of_keys(client: Client) -> tuple[str, Any]:
    row = command("keys", KEY)
    return (row["state"], row["computed_at"]) if row else ("empty", None)


def of_explain(client: Client) -> tuple[str, Any]:
    row = command("explain", KEY)
    return row["state"], row["computed_at"]


def of_get(client: Client) -> tuple[str, Any]:
    from django.core.management import CommandError

    try:
        row = command("get", KEY, "--no-compute")
    except CommandError:
        return "nothing", None
    return row["state"], row["computed_at"]


def of_admin(client: Client) -> tuple[str, Any]:
    html = text_of(client.get(f"/admin/kck_flow/dataproduct/{KEY}/change/"))
    word = re.search(r"kck-chip-(\w+)", html)
    assert word is not None
    at = dict(re.findall(r"<dt>([^<]*)</dt>\s*<dd[^>]*>([^<]*)", html)).get("Computed")
    return word[1], f"{NOW:%Y-%m-%dT}{at.split()[0]}:00+00:00" if at else None


def of_admin_list(client: Client) -> tuple[str, Any]:
    html = text_of(client.get(f"/admin/kck_flow/dataproduct/?q={KEY}"))
    row = re.search(r'field-state_now"><span class="kck-chip kck-chip-(\w+)', html)
    if row is None:  # that list has what is stored; the other, what is declared
        html = text_of(client.get("/admin/kck_flow/dataproduct/declared/"))
        row = re.search(rf"{KEY}</code>.*?kck-chip-(\w+)", html, re.S)
    assert row is not None
    return row[1], ...


FACES: tuple[Callable[[Client], tuple[str, Any]], ...] = (
    of_tile, of_page, of_list, of_api, of_keys, of_explain, of_get, of_admin, of_admin_list,
)  # fmt: skip


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("fresh", "fresh"),
        ("stale", "stale"),
        ("failed", "failed"),
        ("computing", "computing"),
        ("empty", "empty"),
        ("empty, fails", "failed"),
        ("empty, computes", "computing"),
        ("fresh, fails", "fresh"),
        ("fresh, computes", "fresh"),
    ],
)
def test_all_faces_say_the_same_of_how_a_product_stands(
    boss: Client, clock: Clock, how: str, word: str
) -> None:
    at = stated(how, clock)
    told = {face.__name__: face(boss) for face in FACES}
    if at is None:
        assert told.pop("of_get") == ("nothing", None)  # there is no value, whatever becomes of it
    wanted = at.isoformat() if at is not None else None
    assert {name: state for name, (state, _) in told.items()} == dict.fromkeys(told, word)
    for name, (_, found) in told.items():
        assert found is ... or (found or "").replace("Z", "+00:00") == (wanted or ""), name


def test_a_primer_that_fails_shows_its_last_good_value_and_that_it_fails(
    boss: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stated, "prime_on_cache_miss", True)
    computed()
    Stated.broken = True
    a_while(clock)
    assert of_tile(boss)[0] == "stale"  # asks for a refresh
    ran = run_worker([KEY], most=1)
    assert ran.failed == [KEY]
    html = tile(text_of(boss.get(ROOT)), "Number of that day").replace("\u00a0", " ")
    assert '<span class="kck-number">42</span>' in html
    assert "failed · 20 min" in html
    html = text_of(boss.get(f"{ROOT}products/{KEY}")).replace("\u00a0", " ")
    assert '<span class="kck-number">42</span>' in html or ">42<" in html
    assert "failed once: RuntimeError: the source is out" in html
    assert "of order" not in html  # the first line is enough
    told = json.loads(text_of(boss.get(f"{ROOT}products/{KEY}.json")))
    assert (told["value"], told["meta"]["state"]) == (42, "failed")
    row = command("keys", KEY)
    assert (row["value"], row["state"]) == (42, "failed")
    assert row["error"] == "RuntimeError: the source is out"
    assert command("get", KEY, "--no-compute")["value"] == 42
    # A second failure is no zero either; and what succeeds again is fresh everywhere.
    a_while(clock)
    of_api(boss)
    assert run_worker([KEY], most=1).failed == [KEY]
    assert {face(boss)[0] for face in FACES} == {"failed"}
    Stated.broken = False
    clock.move(hours=6)
    of_api(boss)
    assert run_worker([KEY], most=1).outcomes == ["unchanged"]
    assert {face(boss)[0] for face in FACES} == {"fresh"}


def test_strangers_are_not_told_what_was_raised(
    boss: Client, clock: Clock, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stated, "permission", "authenticated", raising=False)
    computed()
    fail()
    client.force_login(User.objects.create_user("stated_visitor"))
    html = text_of(client.get(f"{ROOT}products/{KEY}"))
    assert "failed once" in html
    assert "the source is out" not in html
