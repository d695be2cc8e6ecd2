"""keys, get, set, unset, invalidate: called in this process."""

from __future__ import annotations

import csv
import io
from datetime import datetime

import pytest

from kck_flow import Cache, IntegerParameter, Primer
from kck_flow.testing import registered
from tests.commands.conftest import kck

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bakery")]


def test_what_is_set_is_got() -> None:
    assert kck("set", "any/1", "5").code == 0
    assert kck("get", "any/1").out == "5\n"
    assert Cache.get_instance().get("any/1") == 5


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("5", 5),
        ('"5"', "5"),
        ("hello", "hello"),
        ('{"b": [1.5, null]}', {"b": [1.5, None]}),
        ("null", None),
        ("NaN", "NaN"),
    ],
)
def test_a_value_is_json_or_text(given: str, stored: object) -> None:
    kck("set", "any/1", given)
    assert Cache.get_instance().get("any/1") == stored
    assert kck("get", "any/1").out.rstrip("\n") == ('"5"' if stored == "5" else given.replace(" ", ""))


def test_text_is_taken_as_it_is_where_asked() -> None:
    kck("set", "any/1", "5", "--text")
    assert Cache.get_instance().get("any/1") == "5"


def test_get_json_has_all_the_metadata(customers: list[int]) -> None:
    said = kck("get", "opening", "--format", "json")
    assert set(said.rows) == {
        "key", "value", "version", "computed_at", "soft_expires_at", "hard_expires_at", "state", "age",
    }  # fmt: skip
    assert said.rows["value"] == {"from": "06:30", "to": "18:00"}
    assert said.rows["state"] == "fresh"
    assert said.rows["version"] == 1
    assert datetime.fromisoformat(said.rows["hard_expires_at"]).tzinfo is not None


def test_get_computes_a_miss_unless_told_not_to(customers: list[int]) -> None:
    said = kck("get", f"takings/{customers[1]}", "--no-compute")
    assert said.code == 1
    assert "is not primed" in said.err
    assert kck("get", f"takings/{customers[1]}").out == "200\n"
    assert kck("get", f"takings/{customers[1]}", "--no-compute").out == "200\n"


def test_a_failing_product_is_an_error_with_its_cause() -> None:
    said = kck("get", "oven")
    assert said.code == 1
    assert "the thermometer says nothing" in said.err
    assert said.out == ""


def test_set_has_expiries_and_a_version_to_check() -> None:
    said = kck("set", "any/1", "1", "--soft", "5m", "--hard", "never")
    assert "is set: version 1, fresh for 5 min." in said.out
    entry = Cache.get_instance().get_entry("any/1")
    assert entry.soft_expires_at is not None
    assert entry.computed_at is not None
    assert round((entry.soft_expires_at - entry.computed_at).total_seconds(), 3) == 300
    assert entry.hard_expires_at is None
    said = kck("set", "any/1", "2", "--check-version", "7")
    assert said.code == 1
    assert "has version 1, not 7" in said.err
    assert kck("set", "any/1", "2", "--check-version", "1").code == 0
    assert kck("set", "any/1", "2", "--soft", "2d", "--hard", "1d").code == 2
    assert Cache.get_instance().get("any/1") == 2


def test_unset_and_invalidate(customers: list[int]) -> None:
    first, second = (f"takings/{pk}" for pk in customers[:2])
    for key in (first, second, "opening"):
        kck("get", key)
    assert kck("invalidate", first).out == f"{first} is invalidated.\n"
    assert kck("get", first, "--no-compute").code == 1
    assert kck("get", second, "--no-compute").code == 0
    assert kck("unset", "opening").out == "opening was unset.\n"
    assert kck("unset", "opening").out == "opening held no value.\n"
    assert not Cache.get_instance().is_set("opening")


def test_a_family_is_invalidated_whole_or_in_part(customers: list[int]) -> None:
    found = [f"takings/{pk}" for pk in customers]
    for key in found:
        kck("get", key)
    said = kck("invalidate", "--product", "takings", "--param", f"customer={customers[0]}", "--noinput")
    assert said.out == "1 product of takings is invalidated.\n"
    assert [kck("get", key, "--no-compute").code for key in found] == [1, 0, 0]
    assert (
        "3 products of takings are invalidated." in kck("invalidate", "--product", "takings", "--noinput").out
    )
    assert [kck("get", key, "--no-compute").code for key in found] == [1, 1, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        ("get", "takings/x"),
        ("get", "takings"),
        ("get", "takings/1/2"),
        ("get", "nothing/1"),
        ("get", "opening", "--wait", "soon"),
        ("set", "takings/x", "1"),
        ("set", "any/1", "1", "--soft", "5y"),
        ("set", "any/1", "1", "--check-version", "-1"),
        ("set", "any/1"),
        ("unset", "nothing/1"),
        ("unset",),
        ("invalidate",),
        ("invalidate", "nothing"),
        ("invalidate", "--product", "nothing"),
        ("invalidate", "opening", "--product", "opening"),
        ("invalidate", "--product", "takings", "--param", "nobody=1"),
        ("invalidate", "--product", "takings", "--param", "customer=x"),
        ("keys", "--state", "rotten"),
        ("keys", "--limit", "-1"),
        ("keys", "--database", "elsewhere"),
        ("keys", "--product", "nothing"),
        ("keys", "--format", "xml"),
    ],
)
def test_wrong_input_is_told_and_changes_nothing(wrong: tuple[str, ...]) -> None:
    kck("set", "any/1", "1")
    before = kck("keys", "--all", "--format", "json").rows
    said = kck(*wrong)
    assert said.code in (1, 2)
    assert said.err
    assert said.out == ""
    after = kck("keys", "--all", "--format", "json").rows
    assert [(row["key"], row["version"]) for row in after] == [(row["key"], row["version"]) for row in before]


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("takngs/1", "takings"),
        ("openning", "opening"),
        ("any/12345678", "any/1234567"),
        ("delay/JFK", "keys --primers"),
    ],
)
def test_an_unknown_key_names_the_nearest(asked: str, nearest: str) -> None:
    kck("set", "any/1234567", "1")
    said = kck("get", asked)
    assert said.code == 2
    assert nearest in said.err


def test_keys_lists_products_with_their_states(customers: list[int]) -> None:
    kck("get", "opening")
    kck("get", "oven")
    kck("set", "any/1", "4391")
    kck("get", f"takings/{customers[0]}")
    kck("invalidate", f"takings/{customers[0]}")
    lines = kck("keys").out.splitlines()
    assert lines[0].split() == ["PRODUCT", "KIND", "VALUE", "AGE", "STATE", "NEXT"]
    by_key = {line.split()[0]: line for line in lines[1:-1]}
    assert "4,391" in by_key["any/1"]
    assert "by hand" in by_key["any/1"]
    assert "FAILED" in by_key["oven"]
    assert "retry 1 in" in by_key["oven"]
    assert by_key[f"takings/{customers[0]}"].split()[-1] == "empty"
    assert lines[-1] == "4 products · 2 fresh · 1 failed · 1 empty"
    rows = {row["key"]: row for row in kck("keys", "--format", "json").rows}
    assert rows["opening"]["value"] == {"from": "06:30", "to": "18:00"}
    assert rows["oven"]["error"] == "ValueError: the thermometer says nothing"
    assert rows[f"takings/{customers[0]}"]["value"] is None
    assert {row["key"] for row in kck("keys", "--state", "failed", "--format", "json").rows} == {"oven"}
    assert {row["key"] for row in kck("keys", "an", "--format", "json").rows} == {"any/1"}
    assert {row["key"] for row in kck("keys", "--product", "opening", "--format", "json").rows} == {"opening"}


def test_keys_as_csv_parse_back() -> None:
    kck("set", 'any/"quoted", and more', '{"a": "b,c"}')
    rows = list(csv.DictReader(io.StringIO(kck("keys", "--format", "csv").out)))
    assert rows[0]["key"] == 'any/"quoted", and more'
    assert rows[0]["value"] == '{"a": "b,c"}'


def test_a_cut_list_says_so() -> None:
    for number in range(5):
        kck("set", f"any/{number}", number)
    said = kck("keys", "--limit", "2", "--format", "json")
    assert [row["key"] for row in said.rows] == ["any/0", "any/1"]
    assert "there are more" in said.err
    assert len(kck("keys", "--limit", "0", "--format", "json").rows) == 5


def test_a_large_value_shows_its_size_and_a_hidden_sign_no_effect() -> None:
    kck("set", "any/large", "x" * 5000)
    kck("set", "any/\u202eodd", '"\\u001b[2J"')
    said = kck("keys")
    assert "B)" in said.out
    assert "\x1b" not in said.out
    assert "\u202e" not in said.out


def test_a_key_of_five_thousand_characters_is_listed_like_any_other() -> None:
    key = "any/" + "ü%" * 2500
    kck("set", key, "1")
    for arguments in (["keys"], ["keys", "any"], ["explain", key]):
        assert key in kck(*arguments).out
    assert [row["key"] for row in kck("keys", "--format", "json").rows] == [key]


def test_a_class_of_several_names_is_listed_with_each() -> None:
    class Both(Primer):
        key_base, key_bases = "coarse", ["fine"]
        parameters = [IntegerParameter("n")]

        def compute(self, key):
            return str(key)

    with registered(Both):
        kck("get", "coarse/1")
        kck("get", "fine/2")
        rows = {row["key"]: row["value"] for row in kck("keys", "--format", "json").rows}
        assert rows == {"coarse/1": "coarse/1", "fine/2": "fine/2"}
        assert "coarse/<n>, fine/<n>" in kck("keys", "--primers").out


def test_primers_are_listed_without_further_registration() -> None:
    rows = {row["name"]: row for row in kck("keys", "--primers", "--format", "json").rows}
    assert rows["takings"]["key"] == "takings/<customer>"
    assert rows["takings"]["label"] == "What a customer has paid"
    assert "bakery/primers.py:" in rows["takings"]["declared"]
    assert rows["bread"]["schedule"] == "every hour"
    assert rows["opening"]["hard_expire"] == 86_400
    assert rows["sweep"]["kind"] == "action"
    said = kck("keys", "--primers")
    assert "takings/<customer>" in said.out
    assert said.out.splitlines()[-1].endswith("primers")


def test_an_augmented_value_is_listed_with_what_is_on_its_way(customers: list[int]) -> None:
    from tests.shop.models import Order

    key = f"tally/{customers[0]}"
    kck("get", key)
    Order.objects.create(customer_id=customers[0], cents=11)
    rows = {row["key"]: row for row in kck("keys", "--format", "json").rows}
    assert rows[key]["value"] == {"orders": 2, "cents": 111}
    assert rows[key]["waiting_changes"] == 1
