"""The inspector of products: what staff finds, why it is as it is, and what they do about it."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache
from kck_flow.cache import listed
from kck_flow.errors import ComputeFailed
from kck_flow.models import DataProduct, Family, Pending, Record, Refresh, Run
from kck_flow.store import listings
from kck_flow.store.session import caller
from kck_flow.testing import freeze_time
from tests.admin.conftest import NOW, clerk

pytestmark = pytest.mark.django_db
LIST = "/admin/kck_flow/dataproduct/"
DAY = timedelta(days=1)


def text_of(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def keys_in(text: str) -> list[str]:
    return re.findall(r"<br><code>([^<]+)</code>", text)


def of_every_state() -> dict[str, str]:
    """Store a product in each state, at the clock's now; returns key to state."""
    cache = Cache.get_instance()
    for branch in range(10):
        cache.get(f"a_menu/{branch}")
    now = NOW
    menus = DataProduct.objects.filter(key_base="a_menu")
    slots = Refresh.objects
    menus.filter(key="a_menu/1").update(soft_expires_at=now - DAY)
    menus.filter(key="a_menu/2").update(soft_expires_at=now - DAY)
    menus.filter(key="a_menu/3").update(soft_expires_at=now - DAY)
    menus.filter(key="a_menu/4").update(state="unset", value=None)
    menus.filter(key="a_menu/5").update(invalid_at=now)
    menus.filter(key="a_menu/6").update(hard_expires_at=now - DAY)
    menus.filter(key="a_menu/7").update(primer_version=99)
    for branch, kind in {8: "refresh", 9: "stale"}.items():
        key = cache.build_key("a_menu", branch=branch)
        Pending.objects.create(key_base="a_menu", digest=key.digest, kind=kind)
    for branch, attributes in {
        2: {"lease_until": now + DAY, "lease_owner": "w1"},
        3: {
            "attempts": 2,
            "retry_at": now + DAY,
            "last_error": "RuntimeError: no soup",
            "last_error_at": now,
        },
        5: {"attempts": 1, "last_error": "RuntimeError: no bread"},
        6: {"lease_until": now + DAY},
    }.items():
        key = cache.build_key("a_menu", branch=branch)
        slots.update_or_create(
            digest=key.digest, defaults={"key": str(key), "key_base": "a_menu", **attributes}
        )
    return {
        "a_menu/0": "fresh", "a_menu/1": "stale", "a_menu/2": "computing", "a_menu/3": "failed",
        "a_menu/4": "empty", "a_menu/5": "failed", "a_menu/6": "computing", "a_menu/7": "empty",
        "a_menu/8": "stale", "a_menu/9": "empty",
    }  # fmt: skip


@pytest.fixture
def frozen(declared: None) -> Any:
    with freeze_time(NOW) as clock:
        yield clock


def test_the_states_of_the_list_are_those_of_a_read(frozen: Any, staff: Client) -> None:
    expected = of_every_state()
    rows = listings.entries(caller("default"), key_base="a_menu", hidden=True)
    assert {row.key: listed.state_of(row) for row in rows} == expected
    for state in ("fresh", "stale", "computing", "failed", "empty"):
        found = keys_in(text_of(staff.get(LIST, {"state": state, "key_base": "a_menu"})))
        assert sorted(found) == sorted(key for key, one in expected.items() if one == state), state
    text = text_of(staff.get(LIST))
    counted = dict(re.findall(r'href="\?state=(\w+)"><span[^>]*>[^<]*</span> (\d+)</a>', text))
    assert {name: int(count) for name, count in counted.items()} == Counter(expected.values())


def test_a_list_takes_as_many_statements_for_many_as_for_few(frozen: Any, staff: Client) -> None:
    cache = Cache.get_instance()
    counts = []
    for until in (3, 30):
        for branch in range(until):
            cache.get(f"a_menu/{branch}")
        staff.get(LIST)
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert len(keys_in(text_of(staff.get(LIST, {"key_base": "a_menu"})))) == until
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 16


def test_each_column_says_what_it_is_about(frozen: Any, staff: Client) -> None:
    of_every_state()
    Refresh.objects.filter(key="a_menu/3").update(cost_ms=800, due_at=NOW + timedelta(minutes=11))
    frozen.set(NOW + timedelta(minutes=4))
    text = text_of(staff.get(LIST, {"q": "a_menu/3"}))
    row = re.search(r'<tr><td class="action-checkbox">.*?</tr>', text, re.S)
    assert row is not None
    for part in (
        "What a branch serves",
        "branch 3",
        "failed",
        "4\xa0min ago",
        "in 7\xa0min",
        "0.8\xa0s",
        "B<",
        ">2<",
    ):
        assert part in row[0], (part, row[0])


def test_a_key_is_found_whole_or_in_part(frozen: Any, staff: Client) -> None:
    cache = Cache.get_instance()
    for branch in (1, 10, 11):
        cache.get(f"a_menu/{branch}")
    assert keys_in(text_of(staff.get(LIST, {"q": "a_menu/1"}))) == ["a_menu/1"]
    assert keys_in(text_of(staff.get(LIST, {"q": "MENU 1"}))) == ["a_menu/1", "a_menu/10", "a_menu/11"]
    assert keys_in(text_of(staff.get(LIST, {"q": "nowhere"}))) == []


def test_a_list_goes_on_behind_its_last_row_and_skips_and_repeats_nothing(
    frozen: Any, staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kck_flow.admin import lists, products

    cache = Cache.get_instance()
    for branch in range(10):
        cache.get(f"a_menu/{branch}")
    monkeypatch.setattr(lists, "MOST", 4)
    monkeypatch.setattr(products.ProductAdmin, "list_per_page", 4)
    for large, hierarchy in ((10**9, True), (-1, False)):
        monkeypatch.setattr(products, "LARGE", large)
        address, found = f"{LIST}?key_base=a_menu", []
        while address:
            text = text_of(staff.get(address))
            found += keys_in(text)
            onward = re.search(r'class="kck-onward">[^<]*<a href="([^"]+)"', text)
            address = f"{LIST}{onward[1].replace('&amp;', '&')}" if onward else ""
            assert ("toplinks" in text) is hierarchy
        assert sorted(found) == [f"a_menu/{branch}" for branch in range(10)]
        assert len(found) == 10


def test_states_of_many_are_estimated_from_a_sample(
    frozen: Any, staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache.get_instance()
    for branch in range(10):
        cache.get(f"a_menu/{branch}")
    monkeypatch.setattr(listings, "COUNTED", 5)
    with CaptureQueriesContext(connection) as seen:
        text_of(staff.get(LIST))
    counts = [one["sql"] for one in seen if "count(*) FROM (SELECT" in one["sql"]]
    assert len(counts) == 1
    assert "TABLESAMPLE" in counts[0]


def test_what_somebody_may_not_see_is_not_shown(frozen: Any, site: None, client: Client) -> None:
    cache = Cache.get_instance()
    for key in ("a_private", "a_guarded/12", "a_guarded/13", "a_menu/1"):
        cache.get(key)
    clerk(client, "kck_flow.view_dataproduct")
    text = text_of(client.get(LIST))
    assert keys_in(text) == ["a_guarded/12", "a_menu/1"]
    assert text.count("•••") == 2, "one row, of two columns: of a family that cannot be seen there is none"
    assert "refresh_now" not in text
    assert client.get(f"{LIST}a_private/change/").status_code == 403
    assert client.get(f"{LIST}a_guarded_2F13/change/").status_code == 403
    assert client.get(f"{LIST}a_guarded_2F12/change/").status_code == 200
    assert client.get(f"{LIST}a_menu_2F1/do/refresh/").status_code == 403
    assert client.get("/admin/kck_flow/run/").status_code == 403


def test_the_other_lists_hide_it_too_and_mask_what_looks_secret(
    frozen: Any, site: None, client: Client
) -> None:
    cache = Cache.get_instance()
    cache.get("a_menu/1")
    for branch in (12, 13):
        key = cache.build_key("a_guarded", branch=branch)
        named = {"digest": key.digest, "key": str(key), "key_base": "a_guarded"}
        Run.objects.create(**named, started_at=NOW, finished_at=NOW, outcome="failed", error=f"oops {branch}")
        Record.objects.create(**named, start_at=NOW, written_at=NOW, value=f"held {branch}")
        Refresh.objects.update_or_create(
            digest=key.digest, defaults={**named, "attempts": 1, "last_error": f"oops {branch}"}
        )
    clerk(client, *(f"kck_flow.view_{name}" for name in ("run", "record", "refresh", "dataproduct")))
    for name in ("run", "record", "refresh"):
        text = text_of(client.get(f"/admin/kck_flow/{name}/"))
        assert "a_guarded/12" in text, name
        assert "•••" in text, name
        for hidden in ("a_guarded/13", "oops 13", "held 13", "s3cr3t"):
            assert hidden not in text, (name, hidden)
    record = Record.objects.get(key="a_menu/1")
    text = text_of(client.get(f"/admin/kck_flow/record/{record.pk}/change/"))
    assert "soup" in text
    assert "s3cr3t" not in text
    record = Record.objects.get(key="a_guarded/13")
    assert client.get(f"/admin/kck_flow/record/{record.pk}/change/").status_code in (302, 403)


def test_a_product_shows_its_value_masked_its_records_and_what_it_is_made_of(
    frozen: Any, staff: Client
) -> None:
    cache = Cache.get_instance()
    cache.get("a_reader")
    frozen.set(NOW + timedelta(hours=1))
    cache.set("a_menu/1", {"branch": 1, "api_key": "t0p", "dishes": ["soup", "cake"]})
    text = text_of(staff.get(f"{LIST}a_menu_2F1/change/"))
    assert "s3cr3t" not in text
    assert "t0p" not in text
    assert "&quot;api_key&quot;: &quot;••••&quot;" in text
    assert re.search(r'kck-gone">-\s+&quot;bread&quot;', text)
    assert re.search(r'kck-added">\+\s+&quot;cake&quot;', text)
    assert "a_reader" in text.partition("Feeds")[2]
    assert "a_menu/1" in text_of(staff.get(f"{LIST}a_reader/change/")).partition("Needs")[2]
    digest = DataProduct.objects.get(key="a_menu/1").digest
    assert "soup" in text_of(staff.get(f"{LIST}{digest}/change/"))


def test_a_long_value_is_folded_and_a_huge_one_cut(frozen: Any, staff: Client) -> None:
    cache = Cache.get_instance()
    cache.set("a_menu/1", {"rows": list(range(150))})
    assert '<pre class="kck-json">' in text_of(staff.get(f"{LIST}a_menu_2F1/change/"))
    cache.set("a_menu/1", {"rows": list(range(6000)), "token": "hush"})
    text = text_of(staff.get(f"{LIST}a_menu_2F1/change/"))
    assert "6000 entries" in text
    assert "1001 more" in text or "1002 more" in text
    assert "hush" not in text


def test_no_page_has_a_script_or_a_style_of_its_own(frozen: Any, staff: Client) -> None:
    Cache.get_instance().get("a_menu/1")
    for address in ("", "declared/", "a_menu_2F1/change/", "a_menu_2F1/do/refresh/"):
        text = text_of(staff.get(LIST + address))
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text), address


def test_what_fails_says_why_and_where_it_stands(frozen: Any, staff: Client) -> None:
    cache = Cache.get_instance()
    with pytest.raises(ComputeFailed):
        cache.get("a_kitchen")
    if not Refresh.objects.filter(key="a_kitchen").exists():
        key = cache.build_key("a_kitchen")
        Refresh.objects.create(digest=key.digest, key="a_kitchen", key_base="a_kitchen")
    Refresh.objects.filter(key="a_kitchen").update(
        attempts=3, due_at=NOW, last_error="RuntimeError: the kitchen is closed", last_error_at=NOW
    )
    key = cache.build_key("a_kitchen")
    Run.objects.create(
        digest=key.digest, key="a_kitchen", key_base="a_kitchen", started_at=NOW, finished_at=NOW,
        outcome=Run.FAILED, error="RuntimeError", traceback="Traceback: kitchen.py, line 3",
    )  # fmt: skip
    text = text_of(staff.get(f"{LIST}a_kitchen/change/"))
    for part in ("the kitchen is closed", "kitchen.py, line 3", "failed 3 times", "position 1"):
        assert part in text, part
    assert "a_kitchen" in text_of(staff.get("/admin/kck_flow/refresh/", {"stage": "failing"}))
    assert "RuntimeError" in text_of(staff.get("/admin/kck_flow/run/", {"outcome": "failed"}))


def test_what_was_never_computed_has_a_page_and_stands_under_declared(frozen: Any, staff: Client) -> None:
    text = text_of(staff.get(f"{LIST}a_menu_2F77/change/"))
    assert "never computed" in text
    text = text_of(staff.get(f"{LIST}declared/"))
    for part in ("a_reader", "active", "a_menu"):
        assert f"<code>{part}</code>" in text, part
    assert staff.get(f"{LIST}no_such_thing_2F1/change/").status_code == 302


def post(client: Client, action: str, keys: list[str], **more: Any) -> Any:
    digests = DataProduct.objects.filter(key__in=keys).values_list("digest", flat=True)
    return client.post(LIST, {"action": action, "_selected_action": [str(one) for one in digests], **more})


def test_an_action_asks_first_and_says_how_many(frozen: Any, staff: Client) -> None:
    from django.contrib.admin.models import LogEntry

    cache = Cache.get_instance()
    keys = ["a_menu/1", "a_menu/2", "a_guarded/13"]
    for key in keys:
        cache.get(key)
    before = dict(DataProduct.objects.values_list("key", "computed_at"))
    frozen.set(NOW + DAY)
    text = text_of(post(staff, "refresh_now", keys))
    assert "Compute 2 products now" in text
    assert "1 is left out: you may not do it." in text
    assert dict(DataProduct.objects.values_list("key", "computed_at")) == before
    assert LogEntry.objects.count() == 0

    assert post(staff, "refresh_now", keys, kck_sure="yes").status_code == 302
    after = dict(DataProduct.objects.values_list("key", "computed_at"))
    assert [after[key] - before[key] for key in keys] == [DAY, DAY, timedelta(0)]
    assert sorted(LogEntry.objects.values_list("object_repr", flat=True)) == ["a_menu/1", "a_menu/2"]
    assert "2 products were computed." in text_of(staff.get(LIST))
    assert "Refresh now" in text_of(staff.get(f"{LIST}a_menu_2F1/change/")).partition("What was done here")[2]


def test_the_other_actions_do_what_they_say(frozen: Any, staff: Client) -> None:
    cache = Cache.get_instance()
    for key in ("a_menu/1", "a_menu/2"):
        cache.get(key)
    post(staff, "queue_refresh", ["a_menu/1"], kck_sure="yes")
    assert Refresh.objects.get(key="a_menu/1").due_at is not None
    post(staff, "invalidate", ["a_menu/2"], kck_sure="yes")
    assert DataProduct.objects.get(key="a_menu/2").invalid_at is not None
    assert "Pause 1 family" in text_of(post(staff, "pause_family", ["a_menu/1", "a_menu/2"]))
    post(staff, "pause_family", ["a_menu/1", "a_menu/2"], kck_sure="yes")
    assert Family.objects.get(key_base="a_menu").paused_at is not None
    text = text_of(staff.get(f"{LIST}a_menu_2F1/change/"))
    assert "Its family is paused." in text
    assert "/do/resume/" in text
    post(staff, "resume_family", ["a_menu/1"], kck_sure="yes")
    assert Family.objects.get(key_base="a_menu").paused_at is None


def test_all_chosen_rows_take_part_up_to_a_bound_that_is_said(frozen: Any, staff: Client) -> None:
    cache = Cache.get_instance()
    for branch in range(25):
        cache.get(f"a_menu/{branch}")
    text = text_of(post(staff, "refresh_now", ["a_menu/1"], select_across="1"))
    assert "Compute 20 products now" in text
    assert "At most 20 at once" in text
    assert 'name="select_across" value="1"' in text


def test_something_is_done_about_one_product_on_its_page(frozen: Any, site: None, client: Client) -> None:
    from django.contrib.admin.models import LogEntry

    clerk(client, "kck_flow.view_dataproduct", "kck_flow.refresh_dataproduct")
    text = text_of(client.get(f"{LIST}a_menu_2F5/change/"))
    assert "/do/refresh/" in text
    assert "/do/invalidate/" not in text
    assert "Compute 1 product now" in text_of(client.get(f"{LIST}a_menu_2F5/do/refresh/"))
    assert not DataProduct.objects.filter(key="a_menu/5").exists()
    client.post(f"{LIST}a_menu_2F5/do/refresh/", {"kck_sure": "yes"})
    assert DataProduct.objects.get(key="a_menu/5").version == 1
    assert LogEntry.objects.get().object_repr == "a_menu/5"
    assert client.post(f"{LIST}a_menu_2F5/do/invalidate/", {"kck_sure": "yes"}).status_code == 403


@pytest.mark.parametrize("prefix", ["admin", "office"])
def test_the_other_lists_show_their_rows_on_every_site(frozen: Any, staff: Client, prefix: str) -> None:
    cache = Cache.get_instance()
    for branch in range(3):
        cache.get(f"a_menu/{branch}")
        cache.request_refresh(f"a_menu/{branch}")
    key = cache.build_key("a_menu", branch=1)
    Run.objects.create(
        digest=key.digest,
        key="a_menu/1",
        key_base="a_menu",
        started_at=NOW,
        finished_at=NOW + DAY,
        outcome="done",
    )
    assert Record.objects.exists()
    for name in ("dataproduct", "refresh", "run", "record"):
        text = text_of(staff.get(f"/{prefix}/kck_flow/{name}/"))
        assert "a_menu/1" in text, name
        assert f'href="/{prefix}/kck_flow/dataproduct/' in text, name
        assert "COUNT" not in text
    run = Run.objects.get(key="a_menu/1", outcome="done", finished_at=NOW + DAY)
    assert "a_menu/1" in text_of(staff.get(f"/{prefix}/kck_flow/run/{run.pk}/change/"))
    chosen = {"action": "export", "_selected_action": [str(run.pk)]}
    response = staff.post(f"/{prefix}/kck_flow/run/", chosen)
    lines = b"".join(response.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("id,digest,key")
    assert len(lines) == 2
