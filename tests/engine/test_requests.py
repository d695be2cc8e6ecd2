"""Wishes: coalesced, never lost, in order, taken once. Tests 8, 9, 21 and 23 of the engine; rows 52, 61 to
69.
"""

from __future__ import annotations

import json
import statistics
import time

from tests.shop.models import Author
from tests.stage.directing import FULL, Theatre, one, outcomes, slot, sql, until, value_of


def test_8_a_thousand_wishes_during_a_run_are_one_more_run_rows_62_63(theatre: Theatre) -> None:
    stage, asking = theatre.stage, theatre.readers(4)
    author = Author.objects.create(name="before")
    key = f"eager/{author.pk}"
    for _ in range(2):
        theatre.worker()
    stage.script(key, ["hold", "gate"], run=1)
    asking[0].ask("request", key)
    stage.wait_at(key, "gate")
    for reader in asking:
        reader.tell("requests", key, 250)
    for reader in asking:
        reader.answer()
    assert slot(key)["want"] - slot(key)["claimed_want"] == 1000
    asking[0].ask("save_author", author.pk, "after")
    asking[0].ask("request", key)
    stage.open("gate")
    until(lambda: value_of(key) == "after", "the one more run")
    until(lambda: (now := slot(key))["have"] == now["want"] and not now["leased"], "quiet")
    # One more, or two where the change was drained after it: never a thousand, never two at once.
    assert stage.begun(key) in (2, 3)
    assert stage.most_together(key) == 1


def test_8_a_thousand_wishes_for_what_runs_are_exactly_one_more_run_row_63(theatre: Theatre) -> None:
    stage, asking = theatre.stage, theatre.readers(4)
    for _ in range(2):
        theatre.worker()
    stage.script("act/x", ["hold", "gate"], run=1)
    asking[0].ask("request", "act/x")
    stage.wait_at("act/x", "gate")
    for reader in asking:
        reader.tell("requests", "act/x", 250)
    for reader in asking:
        reader.answer()
    stage.open("gate")
    stage.wait_ended("act/x", 2)
    until(lambda: (now := slot("act/x"))["have"] == now["want"] == 1001 and not now["leased"], "quiet")
    assert stage.begun("act/x") == 2
    assert stage.most_together("act/x") == 1


def test_a_thousand_wishes_before_any_run_are_one_run_row_62(theatre: Theatre) -> None:
    stage, asking = theatre.stage, theatre.readers(4)
    for reader in asking:
        reader.tell("requests", "act/x", 250)
    for reader in asking:
        reader.answer()
    assert (slot("act/x")["want"], slot("act/x")["have"]) == (1000, 0)
    assert one("SELECT count(*) FROM kck_refresh") == 1
    worker = theatre.worker("--once", wait=False)
    assert worker.wait() == 0
    assert stage.begun("act/x") == 1
    assert (slot("act/x")["want"], slot("act/x")["have"]) == (1000, 1000)


def test_9_a_change_at_the_edges_of_claim_and_finish_is_never_lost(theatre: Theatre) -> None:
    """Whatever the moment: once all is quiet, each product equals its row."""
    stage, writers = theatre.stage, theatre.readers(3)
    authors = [Author.objects.create(name="first") for _ in range(4)]
    for author in authors:
        for key in (f"eager/{author.pk}", f"name_of/{author.pk}"):
            writers[0].get(key)
            stage.script(key, ["sleep", 0.002])
    for _ in range(2):
        theatre.worker("--claim", "3")
    rounds = 300 if FULL else 40
    for turn in range(3):
        for number, writer in enumerate(writers):
            author = authors[(number + turn) % len(authors)]
            writer.tell("edge", author.pk, rounds, str(stage.path / f"edge{turn}"))
        for writer in writers:
            writer.answer(limit=300)
        until(_quiet, "quiet", limit=60)
        names = dict(Author.objects.values_list("pk", "name"))
        for author in authors:
            assert value_of(f"eager/{author.pk}") == names[author.pk]
            assert writers[0].get(f"eager/{author.pk}") == names[author.pk]
            assert writers[1].get(f"name_of/{author.pk}") == names[author.pk]
    assert all(stage.most_together(f"eager/{author.pk}") == 1 for author in authors)


def _quiet() -> bool:
    return (
        one(
            "SELECT (SELECT count(*) FROM kck_pending) + (SELECT count(*) FROM kck_refresh"
            " WHERE lease_until IS NOT NULL OR (due_at IS NOT NULL AND want > have))"
        )
        == 0
    )


def test_augmented_counts_are_exact_while_computed_folded_and_written_at_once_g14(theatre: Theatre) -> None:
    """Snapshot computes meet folds and writers; what comes out is what is there."""
    stage, (first, second, third) = theatre.stage, theatre.readers(3)
    assert first.get("author_count") == 0
    stage.script("author_count", ["sleep", 0.03])
    theatre.worker()
    theatre.worker()
    for reader in (first, second):
        reader.tell("authors", 60)
    for _ in range(8):
        third.ask("request", "author_count")
        found = third.get("author_count")
        assert 0 <= found <= 120
    first.answer()
    second.answer()
    assert third.get("author_count") == 120
    until(lambda: one("SELECT count(*) FROM kck_pending") == 0, "all to be folded")
    until(lambda: value_of("author_count") == 120, "the fold to be stored")
    assert {reader.get("author_count") for reader in (first, second, third)} == {120}
    assert "failed" not in outcomes("author_count")


def test_64_many_workers_take_each_of_many_refreshes_once(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    count = 2000 if FULL else 400
    reader.ask("many_requests", [f"act/{number}" for number in range(count)])
    workers = [theatre.worker("--once", "--claim", "7", wait=False) for _ in range(8 if FULL else 4)]
    assert [worker.wait(limit=300) for worker in workers] == [0] * len(workers)
    keys = stage.keys()
    assert len(keys) == len(set(keys)) == count
    assert one("SELECT count(*) FROM kck_product WHERE state = 'value'") == count
    assert len({line.pid for line in stage.ledger("begin")}) > 1
    assert one("SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL OR want > have") == 0


def test_67_one_bad_key_does_not_block_the_others(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/50", ["fail", "bad"])
    reader.ask("many_requests", [f"act/{number}" for number in range(100)])
    worker = theatre.worker("--once", wait=False)
    assert worker.wait(limit=60) == 3  # some failed
    assert one("SELECT count(*) FROM kck_product WHERE state = 'value'") == 99
    assert slot("act/50")["attempts"] == 1
    assert "ValueError: bad" in slot("act/50")["last_error"]


def test_68_the_lowest_lane_first_then_the_longest_waiting_and_what_is_asked_for_often_rises(
    theatre: Theatre,
) -> None:
    stage, reader = theatre.stage, theatre.reader()
    for key in ("act/a", "act/b", "act/c", "act/d"):
        reader.ask("request", key)
    reader.ask("request", "act/urgent", priority=0)
    reader.ask("request", "act/later", priority=8)
    for _ in range(3):
        reader.ask("request", "act/d")
    worker = theatre.worker("--once", "--executor", "inline", wait=False)
    assert worker.wait() == 0
    assert stage.keys() == ["act/urgent", "act/d", "act/a", "act/b", "act/c", "act/later"]


def test_69_70_a_worker_limited_to_products_touches_nothing_else_and_ends_when_nothing_is_due(
    theatre: Theatre,
) -> None:
    stage, reader = theatre.stage, theatre.reader()
    for key in ("act/a", "quick/a", "act/b"):
        reader.ask("request", key)
    worker = theatre.worker("--once", "--products", "quick", "--batch", "20", wait=False)
    assert worker.wait() == 0
    assert stage.keys() == ["quick/a"]
    assert slot("act/a")["token"] == 0


def test_71_a_wish_wakes_a_worker_that_would_look_in_a_minute(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    worker = theatre.worker("--poll", "60")
    assert "mode listen" in worker.output
    pauses = []
    for number in range(15):
        asked_at = time.time()
        reader.ask("request", f"act/{number}")
        pauses.append(stage.wait_begun(f"act/{number}", limit=10).at - asked_at)
        stage.wait_ended(f"act/{number}", limit=10)
    assert statistics.median(pauses) < 0.1, pauses
    # A saved row, too, through its mark on the way.
    author = reader.ask("save_author", None, "Ada")
    assert reader.get(f"eager/{author}") == "Ada"
    reader.ask("save_author", author, "Grace")
    stage.wait_ended(f"eager/{author}", 2, limit=10)
    until(lambda: value_of(f"eager/{author}") == "Grace", "the value to be stored")


def test_52_twenty_processes_worth_of_misses_and_a_worker_make_one_compute(theatre: Theatre) -> None:
    stage, readers = theatre.stage, theatre.readers(4)
    theatre.worker()
    stage.script("act/x", ["hold", "gate"], run=1)
    stage.script("act/x", ["hold", "second"], run=2)  # until the last reader, who may be late, has the first
    for reader in readers:
        reader.tell("gets", "act/x", 5)
    readers_waiting = stage.wait_at("act/x", "gate")
    sql(
        "UPDATE kck_refresh SET want = want + 1, due_at = clock_timestamp() WHERE key = 'act/x'"
    )  # wanted by a trigger, too
    stage.open("gate")
    assert {answer.get("value") for reader in readers for answer in reader.answer()} == {"act/x#1"}
    assert readers_waiting.pid != 0
    stage.open("second")
    stage.wait_begun("act/x", 2)  # the wish that came meanwhile is one more run
    until(_quiet, "quiet")
    assert stage.begun("act/x") == 2


def test_21_a_lane_that_never_empties_starves_no_other(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("urgent", ["sleep", 0.002])
    reader.ask("many_requests", [f"urgent/{number}" for number in range(200)], priority=0)
    reader.ask("many_requests", [f"act/{number}" for number in range(30)], priority=8)
    reader.ask("many_requests", [f"quick/{number}" for number in range(30)], priority=5)
    worker = theatre.worker("--once", "--executor", "inline", "--claim", "1", wait=False)
    assert worker.wait(limit=120) == 0
    order = [key.split("/")[0] for key in stage.keys()]  # noqa: SIM118  (a stage is no dict)
    assert order[:160].count("act") >= 16
    assert order[:160].count("urgent") >= 120
    # One asked for now, with someone waiting, goes before all that waits in other lanes.
    assert order[:7] == ["urgent"] * 7


def test_23_writers_of_one_hot_product_never_wait_for_each_other(theatre: Theatre) -> None:
    """A held-open writer has its mark on the way to the product; others write, commit and go on."""
    stage, (holder, *writers) = theatre.stage, theatre.readers(4)
    authors = [Author.objects.create(name="x") for _ in range(4)]
    key = "roster/hot"
    assert holder.get(key) == 4
    theatre.worker()
    holder.ask("begin")
    holder.ask("save_author", authors[0].pk, "held")
    holder.ask("request", key)
    holder.ask("invalidate", "act/other")
    for writer, author in zip(writers, authors[1:], strict=True):
        writer.tell("edge", author.pk, 20, str(stage.path / "written"))
    for writer in writers:
        writer.answer()
    assert (
        one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        == 0
    )
    holder.ask("end")
    assert writers[0].get(key) == 4
    until(_quiet, "quiet")


def test_61_a_wish_made_on_the_command_line_is_seen_in_the_queue(theatre: Theatre) -> None:
    queued = theatre.crew.manage("kck", "refresh", "act/x", "--queue", env=theatre.stage.env)
    assert queued.wait() == 0, queued.output
    assert theatre.stage.begun() == 0
    listed = theatre.crew.manage("kck", "refreshes", "--format", "json", env=theatre.stage.env)
    assert listed.wait() == 0, listed.output
    (found,) = json.loads(
        "\n".join(line for line in listed.lines if not line.startswith(("INFO", "WARNING")))
    )
    assert found["key"] == "act/x"
