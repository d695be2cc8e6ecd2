"""Declaring with functions: a function that is cached, a function that writes and wakes what it changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from kck_flow import Cache, IntegerParameter, On, Primer, StringParameter, cached, every, scheduled, updates
from kck_flow.errors import DeclarationError, InvalidKey, UnknownPrimer
from kck_flow.models import DataProduct, Pending
from kck_flow.registry import registry
from kck_flow.testing import assert_computes, assert_state, registered, run_worker
from tests.core.conftest import Thread
from tests.shop.models import Author, Book

cache = Cache.get_instance()


@pytest.fixture(autouse=True)
def functions() -> Iterator[None]:
    """What a test declares with functions is forgotten at its end."""
    before = list(registry.classes)
    yield
    for declared in [one for one in registry.classes if one not in before]:
        registry.withdraw(declared)


# -- @cached -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_second_call_runs_no_body_however_the_arguments_are_given() -> None:
    ran: list[tuple[Any, ...]] = []

    @cached
    def price(item: str, amount: int = 1, *, day: date | None = None) -> Decimal:
        """What so many of an item cost."""
        ran.append((item, amount, day))
        return Decimal("1.50") * amount

    assert price("tea") == Decimal("1.50")
    for again in (price("tea", 1), price(item="tea"), price(amount=1, item="tea"), price("tea", day=None)):
        assert again == Decimal("1.50")
    assert ran == [("tea", 1, None)]
    assert price("tea", 2, day=date(2025, 3, 1)) == price(day=date(2025, 3, 1), amount=2, item="tea") == 3
    assert ran[1:] == [("tea", 2, date(2025, 3, 1))]
    assert price("a/b %", 2) == 3
    assert ran[-1] == ("a/b %", 2, None)

    # It is a product like any other.
    key = price.key("tea")
    assert cache.get(key) == Decimal("1.50")
    assert key.params == {"item": "tea", "amount": 1, "day": None}
    assert price.primer.text == "What so many of an item cost"
    assert price.primer.where().startswith(__file__)
    assert key.key_base.endswith("test_a_second_call_runs_no_body_however_the_arguments_are_given.price")
    # And the function is still there.
    assert price.uncached("tea", 4) == 6
    assert (price.__name__, len(ran)) == ("price", 4)


@pytest.mark.django_db
def test_none_is_a_result_like_any_other_and_what_is_returned_is_the_callers_own() -> None:
    ran = []

    @cached("dec_nothing")
    def nothing(n: int) -> None:
        ran.append(n)

    @cached("dec_list")
    def numbers() -> list[int]:
        ran.append(0)
        return [1]

    assert (nothing(1), nothing(1), ran) == (None, None, [1])
    numbers().append(2)
    assert numbers() == [1]
    assert ran == [1, 0]


@pytest.mark.django_db
def test_attributes_of_a_primer_may_be_given_and_hold() -> None:
    @cached("dec_books", depends_on=[On(Book)], hard_expire=timedelta(hours=1), unit="book")
    def books() -> int:
        return Book.objects.count()

    assert books() == 0
    entry = cache.get_entry("dec_books")
    assert abs(entry.hard_expires_at - entry.computed_at - timedelta(hours=1)) < timedelta(seconds=1)
    assert books.primer.unit == "book"
    Book.objects.create(author=Author.objects.create(name="Ada"), title="t")
    assert books() == 1


@pytest.mark.django_db
def test_cached_functions_that_call_each_other_depend_on_each_other() -> None:
    @cached("dec_name")
    def name(pk: int) -> str:
        return Author.objects.get(pk=pk).name

    @cached("dec_shout")
    def shout(pk: int) -> str:
        return name(pk).upper()

    ada = Author.objects.create(name="Ada")
    assert shout(ada.pk) == "ADA"
    with assert_computes(0):
        assert shout(ada.pk) == "ADA"
    Author.objects.update(name="Joan")
    cache.invalidate(name.key(ada.pk))
    assert shout(ada.pk) == "JOAN"


@pytest.mark.django_db
def test_wrong_arguments_are_named_before_anything_is_asked() -> None:
    @cached("dec_typed")
    def typed(n: int) -> int:
        return n

    with pytest.raises(TypeError):
        typed(1, 2)
    with pytest.raises(TypeError):
        typed()
    with pytest.raises(InvalidKey, match="n must be an int, not 'seven'"):
        typed("seven")
    with pytest.raises(DeclarationError, match="no name for a key"):
        cached(lambda *numbers: numbers)


def test_an_attribute_that_a_primer_does_not_have_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"no attribute 'soft_expires'\. Did you mean 'soft_expire'"):
        cached("misspelt", soft_expires=1)(lambda: 1)
    with pytest.raises(DeclarationError, match="@scheduled 'misspelt': a primer has no attribute 'colour'"):
        scheduled(timedelta(1), name="misspelt", colour="red")(lambda: 1)
    assert "misspelt" not in registry.primers


def test_a_subclass_without_words_of_its_own_is_described_by_what_it_is_made_from() -> None:
    class Ready(Primer):
        """How many there are."""

    class Mine(Ready):
        key_base = "mine"

    assert Mine().text == "How many there are"
    assert type("Bare", (Primer,), {"key_base": "bare"})().text == "bare"


@pytest.mark.django_db(transaction=True)
def test_an_async_function_is_cached_and_stays_one_to_be_awaited() -> None:
    ran = []

    @cached("dec_async")
    async def double(n: int) -> int:
        ran.append(n)
        await asyncio.sleep(0)
        return 2 * n

    async def ask() -> list[int]:
        return [await double(4), *await asyncio.gather(*(double(n=4) for _ in range(5)))]

    assert async_to_sync(ask)() == [8] * 6
    assert cache.get(double.key(4)) == 8
    assert ran == [4]


# -- @updates ------------------------------------------------------------------------------------------------


class Page(Primer):
    """An author's page: declares no source, reads no product. Only who writes can tell it."""

    key_base = "dec_page"
    parameters = [IntegerParameter("author"), StringParameter("lang", default="en")]

    def compute(self, key: Any) -> Any:
        return f"{key.params['lang']}: {Author.objects.get(pk=key.params['author']).name}"


class Front(Primer):
    """Made of pages."""

    key_base = "dec_front"

    def compute(self, key: Any) -> Any:
        return [
            cache.get(f"dec_page/{pk}") for pk in Author.objects.order_by("pk").values_list("pk", flat=True)
        ]


@pytest.fixture
def pages() -> Iterator[tuple[Author, Author]]:
    with registered(Page, Front):
        yield Author.objects.create(name="Ada"), Author.objects.create(name="Bob")


def rename(author: int, name: str) -> str:
    Author.objects.filter(pk=author).update(name=name)
    return name


@pytest.mark.django_db
def test_a_writer_wakes_the_products_that_its_arguments_name_and_all_below(
    pages: tuple[Author, Author],
) -> None:
    ada, bob = pages
    keys = [
        cache.build_key("dec_page", author=pk, lang=lang) for pk in (ada.pk, bob.pk) for lang in ("en", "de")
    ]
    cache.get_many(keys)
    assert cache.get("dec_front") == ["en: Ada", "en: Bob"]
    write = updates("dec_page")(rename)
    assert write(ada.pk, name="Joan") == "Joan"
    with assert_computes(2, "dec_page"):  # of one author, in both languages
        assert list(cache.get_many(keys).values()) == ["en: Joan", "de: Joan", "en: Bob", "de: Bob"]
    assert cache.get("dec_front") == ["en: Joan", "en: Bob"]
    with assert_computes(0):
        run_worker()
        cache.get_many([*keys, "dec_front"])


@pytest.mark.django_db
def test_all_parameters_named_mean_one_product(pages: tuple[Author, Author]) -> None:
    ada, _ = pages
    keys = [cache.build_key("dec_page", author=ada.pk, lang=lang) for lang in ("en", "de")]
    cache.get_many(keys)

    @updates("dec_page")
    def translate(author: int, lang: str = "de") -> None:
        Author.objects.filter(pk=author).update(name="Joan")

    translate(ada.pk)
    assert list(cache.get_many(keys).values()) == ["en: Ada", "de: Joan"]


@pytest.mark.django_db
def test_no_argument_named_like_a_parameter_means_the_family(pages: tuple[Author, Author]) -> None:
    ada, bob = pages
    keys = [f"dec_page/{one.pk}/en" for one in pages]
    cache.get_many(keys)

    @updates("dec_page", "dec_front")
    def swap() -> None:
        Author.objects.filter(pk=ada.pk).update(name="Bob")
        Author.objects.filter(pk=bob.pk).update(name="Ada")

    swap()
    assert list(cache.get_many(keys).values()) == ["en: Bob", "en: Ada"]


@pytest.mark.django_db
def test_a_function_says_which_products_it_changed(pages: tuple[Author, Author]) -> None:
    ada, bob = pages
    joan = Author.objects.create(name="Joan")
    keys = [f"dec_page/{one.pk}/en" for one in (ada, bob, joan)]
    cache.get_many(keys)
    asked: list[Any] = []

    def which(result: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append((result, args, kwargs))
        return [keys[0], {"author": bob.pk}, None]

    @updates("dec_page", key=which)
    def upcase(*pks: int, suffix: str) -> int:
        return Author.objects.filter(pk__in=pks).update(name=f"X{suffix}")

    assert upcase(ada.pk, bob.pk, joan.pk, suffix="!") == 3
    assert asked == [(3, (ada.pk, bob.pk, joan.pk), {"suffix": "!"})]
    assert list(cache.get_many(keys).values()) == ["en: X!", "en: X!", "en: Joan"]


@pytest.mark.django_db
def test_then_refresh_queues_what_was_changed_and_serves_it_meanwhile(pages: tuple[Author, Author]) -> None:
    ada, _ = pages
    keys = [f"dec_page/{one.pk}/en" for one in pages]
    cache.get_many(keys)
    updates("dec_page", then="refresh")(rename)(ada.pk, "Joan")
    assert DataProduct.objects.get(key=keys[0]).value == "en: Ada"
    ran = run_worker()
    assert (ran.keys, ran.outcomes) == ([keys[0]], ["done"])
    assert cache.explain(keys[0])["last_run"]["reason"].endswith("test_decorators.rename")
    assert cache.get(keys[0]) == "en: Joan"


@pytest.mark.django_db(transaction=True)
def test_others_see_the_change_with_the_commit_and_never_after_a_rollback(
    pages: tuple[Author, Author], threads: Callable[..., Thread]
) -> None:
    ada, _ = pages
    key = f"dec_page/{ada.pk}/en"
    cache.get(key)
    write = updates("dec_page")(rename)

    def others() -> Any:
        return threads(lambda: (cache.get(key), cache.explain(key)["state"])).result()

    with transaction.atomic():
        write(ada.pk, "Joan")
        assert cache.get(key) == "en: Joan"
        assert others() == ("en: Ada", "fresh")
        transaction.set_rollback(True)
    assert (cache.get(key), others()) == ("en: Ada", ("en: Ada", "fresh"))
    assert not Pending.objects.exists()

    with transaction.atomic():
        write(ada.pk, "Joan")
    assert others()[0] == "en: Joan"

    # What raises has changed nothing: the function is a transaction of its own.
    @updates("dec_page")
    def half(author: int) -> None:
        rename(author, "Nobody")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half(ada.pk)
    assert (Author.objects.get(pk=ada.pk).name, cache.get(key)) == ("Joan", "en: Joan")
    assert_state(key, "fresh")


@pytest.mark.django_db
def test_a_target_that_is_not_there_is_told_before_anything_is_written(pages: tuple[Author, Author]) -> None:
    ada, _ = pages
    write = updates("dec_pages")(rename)
    with pytest.raises(UnknownPrimer, match=r"Did you mean 'dec_page'\?"):
        write(ada.pk, "Joan")
    assert Author.objects.get(pk=ada.pk).name == "Ada"


def test_a_writer_declared_wrongly_is_refused_at_once() -> None:
    with pytest.raises(DeclarationError, match="takes the key bases"):
        updates()
    with pytest.raises(DeclarationError, match="takes the key bases"):
        updates(rename)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="then must be 'stale' or 'refresh', not 'augment'"):
        updates("dec_page", then="augment")  # type: ignore[arg-type]

    async def write() -> None: ...

    with pytest.raises(DeclarationError, match="async"):
        updates("dec_page")(write)


# -- @scheduled (its periods stand in test_schedules) --------------------------------------------------------


@pytest.mark.django_db
def test_a_scheduled_function_may_be_async() -> None:
    ran = []

    @scheduled(every(minutes=1), name="dec_tick")
    async def tick() -> int:
        await asyncio.sleep(0)
        ran.append(await Author.objects.acount())
        return 5

    Author.objects.create(name="Ada")
    assert cache.refresh("dec_tick").value == 5
    assert ran == [1]
