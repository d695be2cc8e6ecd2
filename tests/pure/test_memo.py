"""What was made last is given again while it would be made of the same."""

from __future__ import annotations

import threading

import pytest
from django.test import override_settings

from kck_flow.memo import Memo, Same


def test_it_is_made_once_and_anew_when_it_is_made_of_something_else() -> None:
    memo: Memo[list[int]] = Memo()
    made = memo.get("a", (1, "x"), lambda: [1])
    assert memo.get("a", (1, "x"), lambda: pytest.fail("made again")) is made
    assert memo.get("b", (1, "x"), lambda: [2]) == [2]
    assert memo.get("a", (2, "x"), lambda: [3]) == [3]
    assert memo.get("a", (1, "x"), lambda: [4]) == [4]  # what was before the last is not remembered


def test_same_is_the_same_object_and_nothing_less() -> None:
    one, other = [1], [1]
    assert Same(one) == Same(one)
    assert Same(one) != Same(other)
    assert Same(1) != Same(1.0)
    assert Same(one) != one


def test_the_oldest_goes_first() -> None:
    memo: Memo[int] = Memo(2)
    for name in ("a", "b", "a", "c"):
        memo.keep(name, (), 1)
    assert len(memo) == 2
    assert memo.find("b", ()) is None
    assert memo.find("a", ()) == memo.find("c", ()) == 1


def test_a_changed_setting_forgets_all() -> None:
    memo: Memo[int] = Memo()
    memo.keep("a", (), 1)
    with override_settings(USE_THOUSAND_SEPARATOR=True):
        assert memo.find("a", ()) is None


def test_what_fails_is_not_remembered() -> None:
    memo: Memo[int] = Memo()
    with pytest.raises(ZeroDivisionError):
        memo.get("a", (), lambda: 1 // 0)
    assert memo.get("a", (), lambda: 7) == 7


def test_many_threads_get_what_they_ask_for() -> None:
    memo: Memo[tuple[int, int]] = Memo(8)
    wrong: list[object] = []

    def ask() -> None:
        for turn in range(3000):
            name, given = turn % 20, turn % 3
            found = memo.get(name, (given,), lambda name=name, given=given: (name, given))
            if found != (name, given):
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(memo) <= 8
