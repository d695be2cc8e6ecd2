"""What a message brings about and the database refuses, late or at once: it is that message's affair alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction

from kck_flow import Cache, Message, Topic, send, send_many
from kck_flow.models import Held
from kck_flow.streams import topics
from kck_flow.testing import registered
from tests.shop.models import Author, Book

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)
NOBODY = 10**9
cache = Cache.get_instance()


class Shelved(Topic):
    """A row for each message, whose author is looked for once all is done: foreign keys are deferred."""

    key_base = "refused_shelved"
    topics = ["shelve"]
    retries = 0

    def process(self, state: Any, message: Message) -> Any:
        Book.objects.create(title=message.id, author_id=message.body)
        return state + 1


class ChildFirst(Topic):
    """A handler that is right, and writes the row that is pointed at last."""

    key_base = "refused_child_first"
    topics = ["shelve"]

    def process(self, state: Any, message: Message) -> Any:
        Book.objects.create(title=message.id, author_id=message.body)
        Author.objects.create(pk=message.body, name=message.id)
        return state + 1


class Growing(Topic):
    """A list that cannot be stored while it has four entries; and a row for each message."""

    key_base = "refused_growing"
    topics = ["grow"]
    retries = 0

    def initial(self) -> Any:
        return []

    def process(self, state: Any, message: Message) -> Any:
        Author.objects.create(pk=message.body, name=message.id)
        state.append(object() if len(state) == 3 and message.body % 2 else message.body)


@pytest.mark.parametrize("number", [1, 12, 300])
def test_a_write_that_is_refused_as_it_is_committed_parks_its_message_alone(number: int) -> None:
    with registered(Shelved):
        author = Author.objects.create(name="there").pk
        bad = {number // 3, number - 1}
        send_many([Message("shelve", NOBODY if n in bad else author, f"m{n}", T0) for n in range(number)])
        topics.drain()
        assert cache.get("refused_shelved") == Book.objects.count() == number - len(bad)
        assert set(Held.objects.values_list("message_id", flat=True)) == {f"m{n}" for n in bad}
        assert "IntegrityError" in Held.objects.earliest("id").error


def test_constraints_are_looked_at_after_a_message_not_within_it() -> None:
    with registered(ChildFirst, Shelved):
        send_many([Message("shelve", n, f"m{n}", T0) for n in range(1, 6)])
        send("shelve", NOBODY, id="bad", at=T0)
        assert topics.drain(["refused_child_first"]) == 6
        assert topics.drain(["refused_shelved"]) == 6
        assert cache.get("refused_child_first") == cache.get("refused_shelved") == 6


def test_what_the_caller_has_left_to_be_refused_is_not_a_message_s_affair() -> None:
    with registered(Shelved):
        author = Author.objects.create(name="there").pk
        send_many([Message("shelve", author, f"m{n}", T0) for n in range(3)])
        with transaction.atomic():
            Book.objects.create(title="early", author_id=NOBODY)
            topics.drain()
            assert cache.get("refused_shelved") == 3
            Author.objects.create(pk=NOBODY, name="late")
        assert not Held.objects.exists()
        assert Book.objects.count() == 4


def test_what_cannot_be_stored_is_told_from_what_the_product_was_before() -> None:
    with registered(Growing):
        send_many([Message("grow", n, f"m{n}", T0) for n in (2, 4)])
        topics.drain()
        # From nothing, none of these would be unstorable; and whoever handled one twice would meet its row.
        send_many([Message("grow", n, f"m{n}", T0) for n in (6, 7, 9, 8, 10)])
        topics.drain()
        assert cache.get("refused_growing") == [2, 4, 6, 8, 10]
        assert sorted(Held.objects.values_list("message_id", flat=True)) == ["m7", "m9"]
        assert "Unstorable" in Held.objects.earliest("id").error
        assert Author.objects.count() == 5
