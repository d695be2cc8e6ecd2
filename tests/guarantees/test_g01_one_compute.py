"""G1, G2: one compute per product whoever asks, one failure too. Behaviours 1, 5 and 7."""

from __future__ import annotations

from tests.stage.directing import Theatre, one, slot, sql, until


def test_sixty_four_callers_of_a_cold_product_in_eight_processes_share_one_compute_g1(
    theatre: Theatre,
) -> None:
    stage, readers = theatre.stage, theatre.readers(8)
    stage.script("act/cold", ["hold", "gate"])
    for reader in readers:
        reader.tell("gets", "act/cold", 8)
    stage.wait_begun("act/cold")
    _wait_until_reading(8)
    stage.open("gate")
    answers = [answer for reader in readers for answer in reader.answer()]
    assert len(answers) == 64
    assert [answer.get("value") for answer in answers] == ["act/cold#1"] * 64, answers
    assert stage.begun("act/cold") == 1


def test_a_crowd_that_is_not_held_computes_once_as_well_g1(theatre: Theatre) -> None:
    stage, readers = theatre.stage, theatre.readers(8)
    stage.script("act", ["sleep", 0.2])
    for number in range(3):
        for reader in readers:
            reader.tell("gets", f"act/crowd{number}", 8)
        for reader in readers:
            assert {answer.get("value") for answer in reader.answer()} == {f"act/crowd{number}#1"}
        assert stage.begun(f"act/crowd{number}") == 1


def test_sixty_four_callers_of_a_failing_compute_share_one_error_g2(theatre: Theatre) -> None:
    stage, readers = theatre.stage, theatre.readers(8)
    stage.script("act/broken", ["hold", "gate"], ["fail", "no such warehouse"])
    for reader in readers:
        reader.tell("gets", "act/broken", 8)
    stage.wait_begun("act/broken")
    _wait_until_reading(8)
    stage.open("gate")
    answers = [answer for reader in readers for answer in reader.answer()]
    assert len(answers) == 64
    assert {answer.get("type") for answer in answers} == {"ComputeFailed"}, answers
    assert {answer["cause"] for answer in answers} == {"ValueError: no such warehouse"}
    assert stage.begun("act/broken") == 1
    # Whoever comes within the back-off gets the same cause, and nothing is computed.
    late = readers[0].ask("get", "act/broken")
    assert late["cause"] == "ValueError: no such warehouse"
    assert stage.begun("act/broken") == 1


def test_within_the_back_off_a_stale_value_is_served_and_nothing_computed_g2(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("frail/x", ["fail", "down"])
    reader.ask("set", "frail/x", "old", soft=0)
    assert reader.get("frail/x") == "old"
    until(lambda: slot("frail/x").get("attempts") == 1, "the first attempt to have failed")
    reader.ask("flow", REFRESH_IN_PROCESS=True)
    for _ in range(100):
        assert reader.entry("frail/x") == {"value": "old", "state": "failed", "version": 1}
    assert stage.begun("frail/x") == 1

    pauses = []
    for attempt in range(2, 6):
        pauses.append(_back_off("frail/x"))
        reader.ask("shift", _until_retry("frail/x"))
        until(
            lambda attempt=attempt: reader.get("frail/x") == "old" and slot("frail/x")["attempts"] == attempt,
            f"attempt {attempt} to have failed while the old value is served",
        )
        assert stage.begun("frail/x") == attempt
    pauses.append(_back_off("frail/x"))
    # 10 s, doubling, never above the cap of 40 s, spread by half either way.
    for pause, base in zip(pauses, (10, 20, 40, 40, 40), strict=True):
        assert base * 0.5 <= pause <= base * 1.5 + 0.1, pauses

    stage.script("frail/x", ["value", "new"])
    reader.ask("shift", _until_retry("frail/x"))
    until(
        lambda: reader.get("frail/x") and slot("frail/x")["attempts"] == 0,
        "the success to reset the back-off",
    )
    assert reader.get("frail/x") == "new"
    assert slot("frail/x")["retry_at"] is None
    assert one("SELECT count(*) FROM kck_run WHERE key = 'frail/x' AND outcome = 'failed'") == 5


def _until_retry(key: str) -> float:
    """Seconds from now until just after the back-off."""
    return (
        float(
            one(
                "SELECT extract(epoch FROM retry_at - clock_timestamp()) FROM kck_refresh WHERE key = %s", key
            )
        )
        + 0.2
    )


def _back_off(key: str) -> float:
    return float(
        one("SELECT extract(epoch FROM retry_at - last_error_at) FROM kck_refresh WHERE key = %s", key)
    )


def _wait_until_reading(processes: int) -> None:
    """Wait until the threads of all readers have asked: each has a session, and its read is over."""
    until(
        lambda: (
            one(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s",
                "%kck_product%",
            )
            >= processes * 8
        ),
        "64 callers to have read",
    )
    assert sql("SELECT 1")
