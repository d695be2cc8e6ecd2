"""refresh, warm, refreshes, runs, pause, resume, retry, explain, graph, status: called in this process."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from kck_flow import Cache, IntegerParameter, Primer
from kck_flow.testing import count_computes, freeze_time, registered, run_worker
from tests.commands.conftest import kck
from tests.shop.models import Customer, Order

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bakery")]


def test_refresh_computes_now_and_sums_up(customers: list[int]) -> None:
    keys = [f"takings/{pk}" for pk in customers]
    kck("get", keys[0])
    Order.objects.filter(customer_id=customers[0]).update(cents=150)
    said = kck("refresh", *keys, "oven")
    assert said.code == 3
    assert "refreshed 3, failed 1 (oven)." in said.out
    assert "See: manage.py kck explain oven" in said.out
    assert "the thermometer says nothing" in said.err
    assert Cache.get_instance().get(keys[0]) == 150


def test_refresh_as_json_has_a_row_for_each_and_says_the_rest_on_stderr(customers: list[int]) -> None:
    said = kck("refresh", "opening", "oven", "--format", "json")
    rows = {row["key"]: row for row in said.rows}
    assert rows["opening"]["outcome"] == "done"
    assert rows["opening"]["value"] == {"from": "06:30", "to": "18:00"}
    assert rows["oven"]["outcome"] == "failed"
    assert rows["oven"]["error"] == "ValueError: the thermometer says nothing"
    assert "refreshed 1, failed 1" in said.err


def test_all_that_fails_is_a_failure() -> None:
    assert kck("refresh", "oven").code == 1


def test_refresh_of_a_family_takes_its_domain_and_what_is_stored(customers: list[int]) -> None:
    gone = Customer.objects.create(name="Dee")
    kck("get", f"takings/{gone.pk}")
    Customer.objects.filter(pk=gone.pk).delete()
    with count_computes() as computes:
        said = kck("refresh", "--product", "takings")
    assert computes.of("takings") == 4
    assert "refreshed 4, failed 0" in said.out


def test_refresh_all_runs_no_action(customers: list[int]) -> None:
    with count_computes() as computes:
        said = kck("refresh", "--all", "--force")
    assert said.code == 3  # the oven
    assert computes.of("takings") >= 3
    assert computes.of("bread") == 1
    assert computes.of("sweep") == 0


def test_refresh_goes_on_where_it_was_interrupted(customers: list[int]) -> None:
    begun = timezone.now()
    kck("refresh", f"takings/{customers[0]}", f"takings/{customers[1]}")
    with count_computes() as computes:
        kck("refresh", "--product", "takings", "--computed-before", begun.isoformat())
    assert computes.of("takings") == 1


def test_a_queued_refresh_is_seen_in_the_queue_and_done_by_a_worker() -> None:
    said = kck("refresh", "opening", "--queue")
    assert said.out == "queued 1 refresh. See: manage.py kck refreshes\n"
    row = next(row for row in kck("refreshes", "--format", "json").rows if row["key"] == "opening")
    assert row["state"] == "due"
    assert row["reason"] == "manual"
    assert row["attempts"] == 0
    assert row["age"] >= 0
    run_worker(["opening"])
    assert Cache.get_instance().is_set("opening")
    assert "opening" not in kck("refreshes").out


def test_the_queue_of_a_family_is_emptied_and_values_stay(customers: list[int]) -> None:
    kck("get", "opening")
    kck("refresh", "opening", "--queue")
    kck("refresh", f"takings/{customers[0]}", "--queue")
    assert (
        kck("refreshes", "--clear", "opening", "--noinput").out
        == "1 refresh of opening is wanted no longer.\n"
    )
    keys = {row["key"] for row in kck("refreshes", "--format", "json").rows}
    assert keys == {f"takings/{customers[0]}"}
    assert Cache.get_instance().is_set("opening")


def test_overdue_is_what_is_due_and_not_begun() -> None:
    with freeze_time() as clock:
        kck("refresh", "opening", "--queue")
        clock.move(seconds=5)
        rows = kck("refreshes", "--overdue", "--format", "csv")
    found = list(csv.DictReader(io.StringIO(rows.out)))
    assert [row["key"] for row in found] == ["opening"]


def test_a_paused_primer_is_refreshed_by_force_only() -> None:
    assert kck("pause", "bread", "--note", "closed on Mondays").code == 0
    said = kck("refresh", "bread")
    assert said.code == 1
    assert "paused (closed on Mondays)" in said.err
    assert "--force" in said.err
    assert not Cache.get_instance().is_set("bread")
    assert kck("refresh", "bread", "--queue").code == 1
    assert kck("refresh", "--product", "bread").code == 1
    assert "bread is paused (closed on Mondays): left out" in kck("refresh", "--all").err
    assert kck("refresh", "bread", "--force").code == 0
    assert Cache.get_instance().get("bread") == 40
    assert kck("keys", "--primers", "--product", "bread", "--format", "json").rows[0]["paused"] is True
    assert kck("resume", "bread").out == "bread is refreshed again.\n"
    assert kck("resume", "bread").out == "bread was not paused.\n"
    assert kck("refresh", "bread").code == 0


def test_warm_computes_what_is_missing_and_the_second_call_nothing(customers: list[int], monkeypatch) -> None:
    monkeypatch.setenv("BAKERY_OVEN", "repaired")
    kck("get", f"takings/{customers[0]}")
    with count_computes() as computes:
        said = kck("warm")
    assert said.code == 0
    assert computes.of("takings") == 2
    assert computes.of("sweep") == 0
    with count_computes() as computes:
        again = kck("warm")
    assert computes.total == 0
    assert again.out.startswith("computed 0")
    kck("invalidate", f"takings/{customers[0]}")
    with count_computes() as computes:
        kck("warm")
    assert computes.of("takings") == 1


def test_warm_computes_what_an_older_version_left(customers: list[int]) -> None:
    class Priced(Primer):
        key_base = "priced"
        version = 1

        def compute(self, key):
            return self.version

    with registered(Priced):
        kck("warm", "--product", "priced")
    Priced.version = 2
    with registered(Priced), count_computes() as computes:
        kck("warm", "--product", "priced")
        assert Cache.get_instance().get("priced") == 2
    assert computes.of("priced") == 1


@pytest.mark.parametrize("verb", ["warm", "refresh"])
def test_where_nothing_is_to_be_done_the_format_changes_neither_exit_code_nor_shape(verb: str) -> None:
    class Lost(Primer):
        key_base = "lost"
        parameters = [IntegerParameter("n")]

        def domain(self):
            raise LookupError("nobody knows where")

        def compute(self, key):
            return 1

    class Unlisted(Lost):
        key_base = "unlisted"
        domain = None

    with registered(Lost, Unlisted):
        for name, code in (("lost", 1), ("unlisted", 0)):
            said = {form: kck(verb, "--product", name, "--format", form) for form in ("table", "json", "csv")}
            assert {form: one.code for form, one in said.items()} == dict.fromkeys(said, code)
            assert said["json"].rows == []
            assert said["csv"].out.strip() == "key,outcome,value,version,seconds,error"
        assert "were there already" not in kck("warm", "--product", "unlisted").out


def test_a_broken_domain_does_not_keep_the_others_from_being_warmed(customers: list[int]) -> None:
    class Lost(Primer):
        key_base = "lost"

        def domain(self):
            raise LookupError("nobody knows where")

        def compute(self, key):
            return 1

    with registered(Lost):
        said = kck("warm")
    assert said.code == 3
    assert "The domain of 'lost' cannot be told: LookupError: nobody knows where" in said.err
    assert Cache.get_instance().is_set("opening")


def test_runs_and_their_averages(customers: list[int]) -> None:
    kck("refresh", "opening", "oven")
    kck("refresh", "opening")
    rows = kck("runs", "opening", "--format", "json").rows
    assert [row["outcome"] for row in rows] == ["unchanged", "done"]
    assert rows[0]["seconds"] >= 0
    assert [row["key"] for row in kck("runs", "--outcome", "failed", "--format", "json").rows] == ["oven"]
    averages = {row["product"]: row for row in kck("runs", "--averages", "--format", "json").rows}
    assert (averages["opening"]["runs"], averages["opening"]["failed"]) == (2, 0)
    assert (averages["oven"]["runs"], averages["oven"]["failed"]) == (1, 1)
    assert "thermometer" in kck("runs").out
    assert kck("runs", "takings").out == "No runs are recorded of it.\n"


def test_retry_revives_what_is_parked(monkeypatch) -> None:
    class Doomed(Primer):
        key_base = "doomed"
        retries = 0

        def compute(self, key):
            raise ValueError("never")

    with registered(Doomed):
        kck("refresh", "doomed")
        said = kck("refreshes", "--parked", "--format", "json")
        assert [row["key"] for row in said.rows] == ["doomed"]
        assert said.rows[0]["last_error"] == "ValueError: never"
        assert "kck retry --parked" in said.err
        explained = kck("explain", "doomed").out
        assert "try        manage.py kck retry doomed" in explained
        assert kck("retry", "doomed").out == "doomed will be tried again now.\n"
        assert kck("retry", "doomed").out == "doomed is neither parked nor backing off.\n"
        kck("refresh", "doomed")
        assert kck("retry", "--parked").out == "doomed\n1 product will be tried again.\n"
        assert kck("retry", "--parked").out == "Nothing is parked.\n"
        assert kck("refreshes", "--parked").out == "Nothing is parked.\n"


def test_explain_tells_state_cause_neighbours_and_what_to_try(customers: list[int]) -> None:
    kck("get", "best")
    kck("invalidate", f"takings/{customers[0]}")
    text = kck("explain", "best").out
    lines = {line.split()[0]: line for line in text.splitlines()[1:]}
    assert text.startswith("best  —  Who has paid most")
    assert "declared in bakery/primers.py:" in text.splitlines()[0]
    assert f"takings/{customers[0]} (empty)" in lines["needs"]
    assert f"takings/{customers[1]} (fresh)" in lines["needs"]
    assert "because: miss" in text
    assert lines["try"]
    told = kck("explain", f"takings/{customers[1]}", "--format", "json").rows
    assert [one["key"] for one in told["feeds"]] == ["best"]
    assert told["state"] == "fresh"
    assert told["last_run"]["reason"] == "miss"
    failing = kck("refresh", "oven") and kck("explain", "oven").out
    assert "FAILED once" in failing
    assert "ValueError: the thermometer says nothing" in failing
    assert "full trace: --traceback" in failing
    assert 'raise ValueError("the thermometer says nothing")' in kck("explain", "oven", "--traceback").out


def test_explain_says_why_the_last_refresh_ran_and_why_the_next_waits(customers: list[int]) -> None:
    kck("get", f"takings/{customers[0]}")
    Order.objects.create(customer_id=customers[0], cents=1)
    kck("get", f"takings/{customers[0]}")
    told = kck("explain", f"takings/{customers[0]}").out
    assert "shop.Order added" in told
    kck("refresh", "opening", "--queue")
    assert "no worker is running" in kck("explain", "opening").out
    kck("pause", "opening")
    assert "manage.py kck resume opening" in kck("explain", "opening").out


def test_explain_shows_what_is_still_served_though_it_fails(monkeypatch) -> None:
    monkeypatch.setenv("BAKERY_OVEN", "repaired")
    kck("get", "oven")
    monkeypatch.delenv("BAKERY_OVEN")
    kck("refresh", "oven")
    assert "last good value 230" in kck("explain", "oven").out


def test_explain_shows_the_next_five_instants() -> None:
    run_worker(["bread"])
    told = kck("explain", "bread")
    schedule = next(line for line in told.out.splitlines() if line.strip().startswith("schedule"))
    assert "every hour; next" in schedule
    assert len(re.findall(r"\d\d:\d\d", schedule)) == 5


def test_graph_draws_families_products_and_dot(customers: list[int]) -> None:
    kck("get", "best")
    text = kck("graph").out
    assert "shop.Order\n" in text
    assert "└── best   stale" in text
    assert "tally   augment" in text
    edges = {(row["upstream"], row["downstream"]) for row in kck("graph", "--format", "json").rows}
    assert {("shop.Order", "takings"), ("takings", "best"), ("shop.Order", "tally")} <= edges
    near = {(row["upstream"], row["downstream"]) for row in kck("graph", "best", "--format", "json").rows}
    assert near == {(f"takings/{pk}", "best") for pk in customers} | {
        ("shop.Order", f"takings/{pk}") for pk in customers
    }
    dot = kck("graph", "--dot").out
    assert dot.startswith("digraph kck {")
    assert '"takings" -> "best" [label="stale", style=solid];' in dot
    assert dot.rstrip().endswith("}")
    assert '"takings/' in kck("graph", "--dot", "--products").out


def test_status_counts_what_goes_on() -> None:
    kck("refresh", "opening", "--queue")
    kck("refresh", "oven")
    kck("pause", "bread", "--note", "closed")
    text = kck("status").out
    assert "1 due" in text
    assert "No worker is running" in text
    assert "paused: bread (closed)" in text
    told = kck("status", "--format", "json").rows
    assert sum(lane["due"] for lane in told["lanes"]) == 1
    assert sum(lane["failing"] for lane in told["lanes"]) == 1
    assert told["paused"] == [{"name": "bread", "note": "closed"}]
    rows = list(csv.DictReader(io.StringIO(kck("status", "--format", "csv").out)))
    assert {row["database"] for row in rows} == {"default"}


def test_a_worker_once_does_what_is_due_of_its_products_only() -> None:
    options = kck("worker", "--once", "--products", "opening,oven", "--lanes", "x")
    assert options.code == 2 or options.code == 1
    import argparse

    from kck_flow.management.verbs.workers import _add_worker, options_of

    parser = argparse.ArgumentParser()
    _add_worker(parser)
    asked = parser.parse_args(
        [
            "--products",
            "opening",
            "--batch",
            "20",
            "--lanes",
            "2,0",
            "--max-rss",
            "512M",
            "--max-age",
            "12h",
            "--grace",
            "5",
            "--once",
        ]
    )
    given = options_of({**vars(asked), "verbosity": 1})
    assert given.products == ["opening"]
    assert (given.claim, given.lanes, given.max_rss, given.max_age, given.grace) == (
        20,
        [2, 0],
        512 * 2**20,
        43_200,
        5,
    )
    assert (given.once, given.concurrency) == (True, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        ("refresh", "nothing"),
        ("refresh", "takings/x"),
        ("refresh", "takings"),
        ("refresh", "opening", "--all"),
        ("refresh", "any/1"),
        ("refresh", "--product", "nothing"),
        ("refresh", "opening", "--priority", "1"),
        ("refresh", "opening", "--queue", "--priority", "10"),
        ("refresh", "opening", "--concurrency", "0"),
        ("refresh", "--computed-before", "yesterday"),
        ("warm", "--product", "nothing"),
        ("warm", "opening"),
        ("refreshes", "--clear", "nothing"),
        ("refreshes", "--product", "nothing"),
        ("refreshes", "--clear", "opening", "--parked"),
        ("runs", "nothing"),
        ("runs", "--outcome", "good"),
        ("runs", "takings/x"),
        ("pause", "nothing"),
        ("pause",),
        ("resume", "nothing"),
        ("retry",),
        ("retry", "nothing"),
        ("retry", "opening", "--parked"),
        ("retry", "--product", "opening"),
        ("explain", "nothing"),
        ("explain",),
        ("explain", "takings/x"),
        ("graph", "nothing"),
        ("graph", "--depth", "0"),
        ("graph", "--dot", "--format", "json"),
        ("status", "--database", "elsewhere"),
        ("status", "--watch", "--format", "csv"),
        ("worker", "--products", "nothing"),
        ("worker", "--once", "--reload"),
        ("worker", "--executor", "inline", "--max-age", "1h"),
        ("worker", "--executor", "inline", "--concurrency", "2"),
        ("worker", "--alive-file", "/nowhere/alive"),
        ("worker", "--concurrency", "0"),
        ("worker", "--lanes", "12"),
        ("worker", "--executor", "magic"),
        ("worker", "--max-rss", "much"),
        ("worker", "--lease", "0"),
        ("verb",),
        (),
    ],
)
def test_wrong_input_is_told_and_changes_nothing(wrong: tuple[str, ...]) -> None:
    kck("set", "any/1", "1")
    said = kck(*wrong)
    assert said.code in (1, 2)
    assert said.err
    assert said.out == ""
    assert kck("refreshes", "--format", "json").rows == []
    assert [row["key"] for row in kck("keys", "--all", "--format", "json").rows] == ["any/1"]


def test_a_product_past_its_expiries_is_listed_as_a_read_would_find_it() -> None:
    with freeze_time() as clock:
        kck("get", "opening")
        clock.move(hours=2)
        row = kck("keys", "--format", "json").rows[0]
        assert row["state"] == "stale"
        assert row["age"] == timedelta(hours=2).total_seconds()
        clock.move(days=2)
        row = kck("keys", "--format", "json").rows[0]
        assert row["state"] == "empty"
