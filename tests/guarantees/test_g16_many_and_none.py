"""Many keys in one question, and results of None. Behaviours 16 and 17."""

from __future__ import annotations

from tests.shop.models import Author
from tests.stage.directing import Theatre, one


def test_a_hundred_keys_with_forty_missing_and_five_computed_elsewhere_g1(theatre: Theatre) -> None:
    stage, (asking, elsewhere) = theatre.stage, theatre.readers(2)
    keys = [f"act/{number:03}" for number in range(100)]
    for key in keys[:60]:
        asking.ask("set", key, f"stored {key}")
    busy = keys[60:65]
    for key in busy:
        stage.script(key, ["hold", "gate"], run=1)
    elsewhere.tell("get_many", busy)
    for key in busy:
        stage.wait_at(key, "gate")
    asked = [*reversed(keys), keys[0], keys[70]]  # in another order, with duplicates
    asking.tell("get_many", asked)
    for key in keys[65:]:
        stage.wait_ended(key)
    assert not asking.answered()  # those under way elsewhere are waited for, not computed again
    stage.open("gate")
    elsewhere.answer()
    found = asking.answer()["value"]
    assert [key for key, _ in found] == list(reversed(keys))
    assert dict(found) == {
        **{key: f"stored {key}" for key in keys[:60]}, **{key: f"{key}#1" for key in keys[60:]}
    }  # fmt: skip
    assert stage.begun() == 40


def test_a_partial_failure_returns_the_good_ones_with_a_typed_error_g4(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/bad", ["fail", "no luck"])
    found = reader.ask("get_many", ["act/a", "act/bad", "act/b", "nonsense/1"])
    assert found["type"] == "SomeFailed"
    assert found["results"] == {"act/a": "act/a#1", "act/b": "act/b#1"}
    assert list(found["errors"]) == ["act/bad", "nonsense/1"]
    assert found["errors"]["act/bad"]["cause"] == "ValueError: no luck"
    assert found["errors"]["nonsense/1"]["type"] == "UnknownPrimer"
    assert reader.ask("get_many", ["act/bad", "act/b"], errors="skip")["value"] == [["act/b", "act/b#1"]]
    assert stage.begun("act/bad") == 1


def test_two_callers_in_reversed_order_meet_without_a_deadlock_g1(theatre: Theatre) -> None:
    stage, (one_way, other_way) = theatre.stage, theatre.readers(2)
    stage.script("act", ["sleep", 0.01])
    keys = [f"act/{number:02}" for number in range(40)]
    one_way.tell("get_many", keys)
    other_way.tell("get_many", keys[::-1])
    expected = {key: f"{key}#1" for key in keys}
    assert dict(one_way.answer()["value"]) == expected
    assert dict(other_way.answer()["value"]) == expected
    assert stage.begun() == 40


def test_a_result_of_none_is_kept_for_its_own_shorter_time(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("absent/x", ["value", None], run=1)
    assert reader.get("absent/x") is None
    assert reader.get("absent/x") is None
    assert stage.begun("absent/x") == 1
    assert one("SELECT state FROM kck_product WHERE key = 'absent/x'") == "none"
    reader.ask("shift", 59)
    assert reader.get("absent/x") is None
    reader.ask("shift", 61)  # a value would have been kept for ten minutes
    assert reader.get("absent/x") == "absent/x#2"
    reader.ask("shift", 61 + 599)
    assert reader.get("absent/x") == "absent/x#2"


def test_a_result_of_none_is_replaced_as_soon_as_its_source_changes(theatre: Theatre) -> None:
    stage, (reader, other) = theatre.stage, theatre.readers(2)
    stage.script("absent/Ada", ["value", None], run=1)
    assert reader.get("absent/Ada") is None
    assert other.get("absent/Ada") is None
    other.ask("save_author", None, "Ada")
    assert reader.get("absent/Ada") == "absent/Ada#2"
    assert Author.objects.count() == 1


def test_twenty_first_sets_at_once_are_one_row_and_compare_and_set_has_one_winner_rows_54_57(
    theatre: Theatre,
) -> None:
    readers = theatre.readers(4)
    for reader in readers:
        reader.tell("sets", "act/x", 5)
    assert [answer for reader in readers for answer in reader.answer() if "type" in answer] == []
    assert one("SELECT count(*) FROM kck_product") == 1
    assert one("SELECT version FROM kck_product") == 20  # one per change
    for reader in readers:
        reader.tell("sets", "act/x", 5, version=20)
    answers = [answer for reader in readers for answer in reader.answer()]
    assert sorted(answer.get("type", "set") for answer in answers) == ["VersionMismatch"] * 19 + ["set"]
    assert one("SELECT version FROM kck_product") == 21
