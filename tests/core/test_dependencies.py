"""Who depends on whom: declared and recorded edges, what a change does to those below, diamonds, circles, hints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache, IntegerParameter, On, Primer, StringParameter, updates
from kck_flow.cache import explaining
from kck_flow.cache.frame import Hints
from kck_flow.changes.drain import drain
from kck_flow.entry import Change, Entry
from kck_flow.errors import ComputeFailed, CycleError, NotPrimed
from kck_flow.models import Edge, Pending
from kck_flow.registry import registry
from kck_flow.store import private
from kck_flow.testing import assert_computes, assert_state, count_computes, registered, run_worker
from tests.core.conftest import Gate, Thread
from tests.shop.models import Author, Book

cache = Cache.get_instance()


class Name(Primer):
    """An author's name, as the table has it."""

    key_base = "dep_name"
    parameters = [IntegerParameter("author")]

    def compute(self, key: Any) -> Any:
        return Author.objects.get(pk=key.params["author"]).name


class Titles(Primer):
    """Says that it depends on the name, and does not read it."""

    key_base = "dep_titles"
    parameters = [IntegerParameter("author")]
    depends_on = [On("dep_name", then="refresh")]

    def compute(self, key: Any) -> Any:
        return "titles"


class Greeting(Primer):
    """Reads the name, and does not say that it depends on it."""

    key_base = "dep_greeting"
    parameters = [IntegerParameter("author")]

    def compute(self, key: Any) -> Any:
        author = key.params["author"]
        return f"Hello {cache.get(f'dep_name/{author}')}"


class Length(Primer):
    """Reads what reads the name."""

    key_base = "dep_length"
    parameters = [IntegerParameter("author")]

    def compute(self, key: Any) -> Any:
        author = key.params["author"]
        return len(cache.get(f"dep_greeting/{author}"))


@pytest.fixture
def names() -> Iterator[None]:
    with registered(Name, Titles, Greeting, Length):
        yield


def on_their_way() -> list[tuple[str, str]]:
    """The marks that are on their way: (family, kind), oldest first."""
    return list(Pending.objects.order_by("id").values_list("key_base", "kind"))


# -- declared edges ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_change_refreshes_the_product_with_the_same_parameters_and_no_other(names: None) -> None:
    cache.get_many(["dep_titles/7", "dep_titles/8"])
    cache.set("dep_name/7", "Ada")
    assert run_worker().keys == ["dep_titles/7"]


@pytest.mark.django_db
def test_declaring_below_is_enough_nothing_above_knows_of_it(names: None) -> None:
    cache.set("dep_name/7", "Ada")
    cache.get("dep_titles/7")
    assert not Edge.objects.exists()
    cache.set("dep_name/7", "Grace")
    assert_state("dep_titles/7", "stale")


@pytest.mark.django_db
def test_a_dict_says_which_parameter_comes_from_where() -> None:
    class Label(Primer):
        key_base = "dep_label"
        parameters = [IntegerParameter("author"), StringParameter("place")]

        def compute(self, key: Any) -> Any:
            return 1

    class Shelf(Primer):
        key_base = "dep_shelf"
        parameters = [StringParameter("room"), IntegerParameter("writer")]
        depends_on = [On("dep_label", key={"writer": "author", "room": "place"}, then="refresh")]

        def compute(self, key: Any) -> Any:
            return dict(key.params)

    with registered(Shelf, Label):
        cache.get_many(["dep_shelf/hall/7", "dep_shelf/hall/8", "dep_shelf/attic/7"])
        cache.set("dep_label/7/hall", "red")
        assert run_worker().keys == ["dep_shelf/hall/7"]


@pytest.mark.django_db
def test_a_function_may_name_many_products_and_each_is_refreshed_once() -> None:
    seen: list[Change] = []

    def items(change: Change) -> list[Any]:
        seen.append(change)
        return ["dep_price/1", {"item": 2}, 3, 1, None]

    class Rate(Primer):
        key_base = "dep_rate"

        def compute(self, key: Any) -> Any:
            return 1

    class Price(Primer):
        key_base = "dep_price"
        parameters = [IntegerParameter("item")]
        depends_on = [On("dep_rate", key=items, then="refresh")]

        def compute(self, key: Any) -> Any:
            return key.params["item"]

    with registered(Rate, Price):
        cache.set("dep_rate", 4)
        cache.get_many([f"dep_price/{item}" for item in range(1, 5)])
        run_worker()
        cache.set("dep_rate", 5)
        assert sorted(run_worker().keys) == ["dep_price/1", "dep_price/2", "dep_price/3"]
        assert (seen[-1].source, seen[-1].key, seen[-1].old, seen[-1].new) == ("dep_rate", "dep_rate", 4, 5)


@pytest.mark.django_db
def test_a_mapping_to_a_product_of_a_general_key_works_for_parameters_of_none() -> None:
    class Total(Primer):
        key_base = "dep_total"
        depends_on = [On("dep_name", then="refresh")]

        def compute(self, key: Any) -> Any:
            return 1

    with registered(Name, Total):
        cache.get("dep_total")
        cache.set("dep_name/1", "Ada")
        assert run_worker().keys == ["dep_total"]


@pytest.mark.django_db
def test_a_row_reaches_the_product_its_column_names_and_moving_it_reaches_both() -> None:
    class Sold(Primer):
        key_base = "dep_sold"
        parameters = [IntegerParameter("author")]
        depends_on = [On(Book, key="author_id", then="refresh")]

        def compute(self, key: Any) -> Any:
            return sum(Book.objects.filter(author_id=key.params["author"]).values_list("sold", flat=True))

    with registered(Sold):
        a, b, c = (Author.objects.create(name=name) for name in "abc")
        book = Book.objects.create(author=a, title="t", sold=3)
        keys = [f"dep_sold/{one.pk}" for one in (a, b, c)]
        assert list(cache.get_many(keys).values()) == [3, 0, 0]
        run_worker()
        book.sold = 4
        book.save()
        assert run_worker().keys == [keys[0]]
        book.author = b
        book.save()
        assert sorted(run_worker().keys) == sorted(keys[:2])
        book.delete()
        assert run_worker().keys == [keys[1]]
        assert list(cache.get_many(keys).values()) == [0, 0, 0]


@pytest.mark.django_db
def test_a_row_that_names_no_product_makes_the_whole_family_stale() -> None:
    class Any1(Primer):
        key_base = "dep_any"
        parameters = [IntegerParameter("n")]
        depends_on = [On("shop.Author")]

        def compute(self, key: Any) -> Any:
            return Author.objects.count()

    with registered(Any1):
        keys = ["dep_any/1", "dep_any/2"]
        assert list(cache.get_many(keys).values()) == [0, 0]
        Author.objects.create(name="Ada")
        assert list(cache.get_many(keys).values()) == [1, 1]
        with assert_computes(0, "dep_any"):
            cache.get_many(keys)


@pytest.mark.django_db
def test_only_the_columns_that_an_edge_names_wake_it() -> None:
    class Names(Primer):
        key_base = "dep_book_titles"
        depends_on = [On(Book, fields=["title"])]

        def compute(self, key: Any) -> Any:
            return sorted(Book.objects.values_list("title", flat=True))

    with registered(Names):
        book = Book.objects.create(author=Author.objects.create(name="a"), title="t")
        assert cache.get("dep_book_titles") == ["t"]
        book.sold = 9
        book.save()
        assert ("dep_book_titles", "stale") not in on_their_way()
        book.title = "u"
        book.save()
        assert cache.get("dep_book_titles") == ["u"]


@pytest.mark.django_db
def test_a_rollback_wakes_nobody(names: None) -> None:
    cache.set("dep_name/7", "Ada")
    cache.get("dep_titles/7")
    run_worker()
    with transaction.atomic():
        cache.set("dep_name/7", "Grace")
        assert ("dep_titles", "refresh") in on_their_way()
        transaction.set_rollback(True)
    assert run_worker().keys == []
    assert cache.get_entry("dep_titles/7").state == "fresh"


@pytest.mark.django_db
def test_unsetting_wakes_those_below(names: None) -> None:
    cache.set("dep_name/7", "Ada")
    cache.get("dep_titles/7")
    cache.unset("dep_name/7")
    assert run_worker().keys == ["dep_titles/7"]


# -- three modes ---------------------------------------------------------------------------------------------


class Sum(Primer):
    """What three products are made of."""

    key_base = "dep_sum"

    def compute(self, key: Any) -> Any:
        return 0


class Stale(Primer):
    key_base = "dep_stale"
    depends_on = [On("dep_sum", then="stale")]

    def compute(self, key: Any) -> Any:
        return cache.get("dep_sum") * 10


class Refreshed(Stale):
    key_base = "dep_refreshed"
    depends_on = [On("dep_sum", then="refresh")]


class Augmented(Stale):
    key_base = "dep_augmented"
    depends_on = [On("dep_sum", then="augment")]
    told: list[tuple[Any, Any]] = []

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        self.told.extend((change.old, change.new) for change in changes)
        for change in changes:
            value += ((change.new or 0) - (change.old or 0)) * 10
        return value


@pytest.mark.django_db(transaction=True)
def test_an_edge_marks_stale_or_refreshes_or_augments_as_it_says(settings: Any) -> None:
    settings.KCK_FLOW = {"REFRESH_IN_PROCESS": False}  # as where a worker lives: reads only ask
    with registered(Sum, Stale, Refreshed, Augmented):
        Augmented.told.clear()
        cache.set("dep_sum", 1)
        keys = ["dep_stale", "dep_refreshed", "dep_augmented"]
        assert list(cache.get_many(keys).values()) == [10, 10, 10]
        run_worker()

        cache.set("dep_sum", 2)
        with count_computes(*keys) as computes:
            # Augmented: shows the change at once, and nothing was computed.
            assert cache.get("dep_augmented") == 20
            # Refreshed: the old value is served while a refresh is wanted.
            assert (cache.get("dep_refreshed"), cache.get_entry("dep_refreshed").state) == (10, "stale")
            assert computes.total == 0
            # Stale: not served any more.
            assert cache.get("dep_stale") == 20
            assert dict(computes.counts) == {"dep_stale": 1}
            assert run_worker().keys == ["dep_refreshed"]
            assert list(cache.get_many(keys).values()) == [20, 20, 20]
            assert dict(computes.counts) == {"dep_stale": 1, "dep_refreshed": 1}
        assert set(Augmented.told) == {(1, 2)}


@pytest.mark.django_db
def test_an_equal_result_wakes_nobody_below() -> None:
    class Count(Primer):
        key_base = "dep_count"
        depends_on = [On(Author, then="refresh")]

        def compute(self, key: Any) -> Any:
            return Author.objects.count()

    class Page(Primer):
        key_base = "dep_page"
        depends_on = [On("dep_count", then="refresh")]

        def compute(self, key: Any) -> Any:
            return f"{cache.get('dep_count')} authors"

    with registered(Count, Page):
        ada = Author.objects.create(name="Ada")
        assert cache.get("dep_page") == "1 authors"
        run_worker()
        version = cache.get_entry("dep_count").version
        ada.name = "Grace"
        ada.save()
        ran = run_worker()
        assert (ran.keys, ran.outcomes) == (["dep_count"], ["unchanged"])
        assert cache.get_entry("dep_count").version == version
        Author.objects.create(name="Joan")
        assert run_worker().keys == ["dep_count", "dep_page"]
        assert cache.get("dep_page") == "2 authors"


# -- recorded edges ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_a_compute_reads_is_remembered_and_its_change_reaches_all_below(names: None) -> None:
    ada = Author.objects.create(name="Ada")
    key = f"dep_name/{ada.pk}"
    assert cache.get(f"dep_length/{ada.pk}") == len("Hello Ada")
    assert set(Edge.objects.values_list("upstream_key", "downstream_key")) == {
        (key, f"dep_greeting/{ada.pk}"),
        (f"dep_greeting/{ada.pk}", f"dep_length/{ada.pk}"),
    }
    cache.set(key, "Grace")
    # Not even one read serves what was made from the old name, however far below.
    assert cache.get(f"dep_length/{ada.pk}") == len("Hello Grace")
    cache.invalidate(key)
    assert cache.get(f"dep_length/{ada.pk}") == len("Hello Ada")


@pytest.mark.django_db
def test_what_a_compute_reads_no_longer_does_not_wake_it_any_more() -> None:
    class Switch(Primer):
        key_base = "dep_switch"

        def compute(self, key: Any) -> Any:
            return cache.get("dep_left" if cache.get("dep_side") == "left" else "dep_right")

    with registered(Switch):
        for key, value in (("dep_side", "left"), ("dep_left", 1), ("dep_right", 2)):
            cache.set(key, value)
        assert cache.get("dep_switch") == 1
        cache.set("dep_side", "right")
        assert cache.get("dep_switch") == 2
        assert set(Edge.objects.values_list("upstream_key", flat=True)) == {"dep_side", "dep_right"}
        with assert_computes(0, "dep_switch"):
            cache.set("dep_left", 3)
            assert cache.get("dep_switch") == 2


@pytest.mark.django_db(transaction=True)
def test_a_change_while_it_is_computed_is_not_lost(gate: Gate, threads: Callable[..., Thread]) -> None:
    class Slow(Primer):
        key_base = "dep_slow"
        stops = True

        def compute(self, key: Any) -> Any:
            read = cache.get("dep_source")
            if type(self).stops:
                gate.stop()
            return read

    with registered(Slow):
        cache.set("dep_source", "old")
        reader = threads(lambda: cache.get("dep_slow"))
        gate.reached()
        cache.set("dep_source", "new")  # there is no edge yet that could tell
        Slow.stops = False
        gate.open()
        reader.result()
        assert cache.get("dep_slow") == "new"


class Watch:
    """What a compute reads that no edge tells of."""

    value = 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", ["a row", "a product that it does not read", "a product that it reads"])
def test_what_happens_while_it_is_computed_is_not_taken_for_its_own_doing(
    change: str, gate: Gate, threads: Callable[..., Thread]
) -> None:
    class Upper(Primer):
        key_base = "dep_upper"

        def compute(self, key: Any) -> Any:
            return 1

    class Lower(Primer):
        key_base = "dep_lower"
        depends_on = [On(Author), On("dep_told"), On("dep_upper")]
        stops = True

        def compute(self, key: Any) -> Any:
            found = [cache.get("dep_upper"), Watch.value, Author.objects.count()]
            if type(self).stops:
                gate.stop()
            return found

    class Told(Upper):
        key_base = "dep_told"

    with registered(Upper, Lower, Told), count_computes("dep_lower") as computes:
        Watch.value = 1
        reader = threads(lambda: cache.get("dep_lower"))
        gate.reached()  # its own read has computed dep_upper, which marked it
        if change == "a row":
            Author.objects.create(name="Ada")
        elif change == "a product that it does not read":
            Watch.value = 2
            cache.set("dep_told", 2)
        else:
            Watch.value = 2
            cache.invalidate("dep_upper")
        Lower.stops = False
        gate.open()
        reader.result()
        assert cache.get("dep_lower") == [1, Watch.value, Author.objects.count()]
        assert computes.total == 2
        cache.get("dep_lower")
        assert computes.total == 2


@pytest.mark.django_db(transaction=True)
def test_a_declared_source_counts_though_what_was_read_is_made_of_it_too(
    gate: Gate, threads: Callable[..., Thread]
) -> None:
    class Lower(Primer):
        key_base = "dep_lower"
        depends_on = [On("dep_sum"), On("dep_stale")]
        stops = False

        def compute(self, key: Any) -> Any:
            watched = Watch.value
            if type(self).stops:
                gate.stop()
            return [watched, cache.get("dep_stale")]

    with registered(Sum, Stale, Lower):
        Watch.value = 1
        cache.set("dep_sum", 1)
        assert cache.get("dep_lower") == [1, 10]
        Lower.stops = True
        reader = threads(lambda: cache.refresh("dep_lower"))
        gate.reached()
        Watch.value = 2
        cache.set("dep_sum", 2)  # dep_stale is read after this, and computed for it; the rest was read before
        Lower.stops = False
        gate.open()
        assert reader.result().value == [1, 20]
        assert cache.get("dep_lower") == [2, 20]


@pytest.mark.django_db(transaction=True)
def test_a_refresh_wanted_while_it_is_computed_is_one_more(
    gate: Gate, threads: Callable[..., Thread]
) -> None:
    class Lower(Primer):
        key_base = "dep_lower"
        depends_on = [On("dep_sum", then="refresh")]
        stops = True

        def compute(self, key: Any) -> Any:
            found = [cache.get("dep_sum"), Watch.value]
            if type(self).stops:
                gate.stop()
            return found

    @updates("dep_lower", then="refresh")
    def write() -> None:
        Watch.value = 2

    with registered(Sum, Lower), count_computes("dep_lower") as computes:
        Watch.value = 1
        reader = threads(lambda: cache.get("dep_lower"))
        gate.reached()
        write()
        Lower.stops = False
        gate.open()
        assert reader.result() == [0, 1]
        run_worker()
        assert cache.get("dep_lower") == [0, 2]
        assert computes.total == 2


@pytest.mark.django_db(transaction=True)
def test_a_drain_leaves_the_marks_of_what_is_being_computed() -> None:
    class Upper(Primer):
        key_base = "dep_upper"

        def compute(self, key: Any) -> Any:
            return 1

    class Lower(Primer):
        key_base = "dep_lower"
        depends_on = [On("dep_upper")]

        def compute(self, key: Any) -> Any:
            found = cache.get("dep_upper")
            with private.session("default") as session:
                drain(session)  # as a worker does that is told at once
            return found

    with registered(Upper, Lower), assert_computes(1, "dep_lower"):
        assert cache.get("dep_lower") == 1
        assert cache.get("dep_lower") == 1
        run_worker()
        assert cache.get_entry("dep_lower").state == "fresh"


# -- diamonds ------------------------------------------------------------------------------------------------


def corner(name: str, *above: str, then: Any = "refresh", declared: bool = True) -> type[Primer]:
    """A primer that reads those above it."""

    def compute(self: Primer, key: Any) -> Any:
        return [name, *(cache.get(one) for one in above)]

    edges = [On(one, then=then) for one in above] if declared else []
    return type(name, (Primer,), {"key_base": name, "compute": compute, "depends_on": edges})


@pytest.mark.django_db
@pytest.mark.parametrize("turned", [False, True])
def test_a_diamond_is_computed_once_at_each_corner_and_from_top_to_bottom(turned: bool) -> None:
    sides = ("dia_c", "dia_b") if turned else ("dia_b", "dia_c")
    with registered(
        corner("dia_a"), corner("dia_b", "dia_a"), corner("dia_c", "dia_a"), corner("dia_d", *sides)
    ):
        cache.get("dia_d")
        run_worker()
        cache.set("dia_a", "new")
        ran = run_worker()
        assert sorted(ran.keys[:2]) == ["dia_b", "dia_c"]
        assert ran.keys[2:] == ["dia_d"]
        assert cache.get("dia_d") == ["dia_d", *([side, "new"] for side in sides)]


@pytest.mark.django_db
@pytest.mark.parametrize("short", ["un_0", "un_9"])
def test_the_lower_corner_waits_for_the_longer_side_too(short: str) -> None:
    # Whichever side is asked for first: names decide.
    side = ["un_1", "un_2", "un_3", "un_4"]
    steps = [corner(name, above) for name, above in zip(side, ["un_a", *side], strict=False)]
    with registered(corner("un_a"), *steps, corner(short, "un_a"), corner("un_z", short, side[-1])):
        cache.get("un_z")
        run_worker()
        cache.set("un_a", "new")
        ran = run_worker()
        assert [key for key in ran.keys if key != short] == [*side, "un_z"]
        assert ran.keys.count(short) == 1


@pytest.mark.django_db
def test_a_diamond_read_after_a_stale_mark_computes_each_corner_once() -> None:
    with registered(
        corner("dia_a", then="stale"),
        corner("dia_b", "dia_a", then="stale"),
        corner("dia_c", "dia_a", then="stale"),
        corner("dia_d", "dia_b", "dia_c", then="stale"),
    ):
        cache.get("dia_d")
        cache.set("dia_a", "new")
        with count_computes() as computes:
            assert cache.get("dia_d") == ["dia_d", ["dia_b", "new"], ["dia_c", "new"]]
        assert dict(computes.counts) == {"dia_d": 1, "dia_b": 1, "dia_c": 1}


@pytest.mark.django_db(transaction=True)
def test_a_diamond_in_threads_of_its_own_computes_each_corner_once() -> None:
    with registered(
        corner("dia_a"), corner("dia_b", "dia_a"), corner("dia_c", "dia_a"), corner("dia_d", "dia_b", "dia_c")
    ):
        with count_computes() as computes:
            cache.get("dia_d")
        assert dict(computes.counts) == {"dia_a": 1, "dia_b": 1, "dia_c": 1, "dia_d": 1}
        cache.set("dia_a", "new")
        ran = run_worker()
        assert (sorted(ran.keys[:2]), ran.keys[2:]) == (["dia_b", "dia_c"], ["dia_d"])
        assert cache.get("dia_d") == ["dia_d", ["dia_b", "new"], ["dia_c", "new"]]


# -- a tree is computed once ---------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("then", ["stale", "refresh"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_first_read_leaves_everything_fresh(then: str, declared: bool) -> None:
    diamond(then, declared)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("then", ["stale", "refresh"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_first_read_leaves_everything_fresh_in_threads_of_its_own(then: str, declared: bool) -> None:
    diamond(then, declared)


def diamond(then: str, declared: bool) -> None:
    names = ("dia_a", "dia_b", "dia_c", "dia_d")
    with registered(
        corner("dia_a"),
        corner("dia_b", "dia_a", then=then, declared=declared),
        corner("dia_c", "dia_a", then=then, declared=declared),
        corner("dia_d", "dia_b", "dia_c", then=then, declared=declared),
    ):
        with count_computes(*names) as computes:
            cache.get("dia_d")
            cache.get("dia_d")
            assert run_worker().keys == []
        assert dict(computes.counts) == dict.fromkeys(names, 1)
        assert {name: cache.get_entry(name).state for name in names} == dict.fromkeys(names, "fresh")
        # Its root changes, or only goes: each is computed once more at the most, by whoever asks or by a worker.
        for change in (lambda: cache.set("dia_a", "new"), lambda: cache.invalidate("dia_a")):
            change()
            with count_computes(*names) as computes:
                run_worker()
                cache.get("dia_d")
                run_worker()
                assert cache.get("dia_d") == ["dia_d", *(["dia_" + x, cache.get("dia_a")] for x in "bc")]
                assert run_worker().keys == []
            assert {name: cache.get_entry(name).state for name in names} == dict.fromkeys(names, "fresh")
            assert max(computes.counts.values()) == 1, computes.counts


# -- circles -------------------------------------------------------------------------------------------------


def circle_found() -> list[str]:
    return [found.msg for found in run_checks(tags=["kck"]) if found.id == "kck_flow.E006"]


def test_a_declared_circle_is_found_before_anything_runs_and_its_path_is_shown() -> None:
    assert circle_found() == []
    with registered(corner("ci_a", "ci_c"), corner("ci_b", "ci_a"), corner("ci_c", "ci_b")):
        (message,) = circle_found()
        assert "ci_a → ci_b → ci_c → ci_a" in message
    with registered(corner("ci_self", "ci_self")):
        (message,) = circle_found()
        assert "ci_self → ci_self" in message
    with registered(corner("dia_a"), corner("dia_b", "dia_a"), corner("dia_c", "dia_a", "dia_b")):
        assert circle_found() == []


class Round(Primer):
    """Reads the next of three, the last the first: declared nowhere."""

    key_base = "round"
    parameters = [IntegerParameter("n")]

    def compute(self, key: Any) -> Any:
        following = (key.params["n"] + 1) % 3
        return cache.get(f"round/{following}")


def circle_met(ask: Callable[[], Any]) -> None:
    begun = time.monotonic()
    with pytest.raises(ComputeFailed, match=r"round/0 → round/1 → round/2 → round/0") as caught:
        ask()
    # At once, not when the wait of some reader is over.
    assert time.monotonic() - begun < 5
    causes: list[BaseException | None] = [caught.value]
    while causes[-1] is not None:
        causes.append(causes[-1].__cause__)
    assert any(isinstance(cause, CycleError) for cause in causes)


@pytest.mark.django_db
def test_a_circle_met_in_a_test_is_an_error_with_its_path() -> None:
    with registered(Round):
        circle_met(lambda: cache.get("round/0"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("context", ["open", "clean", "dirty"])
def test_a_circle_met_while_computing_is_an_error_with_its_path(context: str) -> None:
    def ask() -> Any:
        if context == "open":
            return cache.get("round/0")
        with transaction.atomic():
            if context == "dirty":
                Author.objects.create(name="Ada")
            return cache.get("round/0")

    with registered(Round):
        circle_met(ask)


@pytest.mark.django_db(transaction=True)
def test_a_circle_met_by_a_worker_is_a_failed_run_with_its_path() -> None:
    with registered(Round):
        cache.request_refresh("round/0")
        begun = time.monotonic()
        assert run_worker(most=1).failed == ["round/0"]
        assert time.monotonic() - begun < 5
        assert "round/0 → round/1 → round/2 → round/0" in cache.explain("round/0")["last_run"]["error"]


# -- hints ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_refresh_tree_reads_an_upstream_from_the_database_once() -> None:
    with registered(
        corner("dia_a", then="stale"),
        corner("dia_b", "dia_a", then="stale"),
        corner("dia_c", "dia_a", then="stale"),
        corner("dia_d", "dia_a", "dia_b", "dia_c", then="stale"),
    ):
        cache.set("dia_a", "once")
        digest = registry.key("dia_a").digest.hex

        def reads_of_a() -> int:
            asked = [query["sql"] for query in queries.captured_queries]
            return sum(sql.startswith("SELECT p.value") and digest in sql.replace("-", "") for sql in asked)

        with CaptureQueriesContext(connection) as queries:
            cache.refresh("dia_d")
        assert reads_of_a() == 1
        with CaptureQueriesContext(connection) as queries:
            cache.get("dia_a")
            cache.get("dia_a")
        assert reads_of_a() == 2  # after the tree nothing is remembered


SET, GONE = "set", "deleted"


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ([(SET, 1)], 1),
        ([(GONE, 1)], GONE),
        ([(SET, 1), (SET, 2)], 2),
        ([(SET, 2), (SET, 1)], 2),
        ([(SET, 1), (GONE, 2)], GONE),
        ([(GONE, 2), (SET, 1)], GONE),
        ([(GONE, 1), (SET, 2)], 2),
        ([(SET, 2), (GONE, 1)], 2),
        ([(SET, 1), (GONE, 2), (SET, 3)], 3),
        ([(SET, 3), (SET, 1), (GONE, 2)], 3),
        ([(SET, 1), (GONE, 1)], GONE),  # of two at one instant, the one told last
        ([(GONE, 1), (SET, 1)], 1),
    ],
)
def test_of_hints_about_one_product_the_newest_holds_in_whatever_order_they_come(
    told: list[tuple[str, int]], known: Any
) -> None:
    hints, key = Hints(), registry.key("any/1")
    for what, at in told:
        if what == SET:
            hints.set(key, Entry("any/1", at, at, None, None, None, "fresh", None), str(at), float(at))
        else:
            hints.deleted(key, float(at))
    hint = hints.get(key)
    assert hint is not None
    assert (GONE if hint.entry is None else hint.entry.value) == known


@pytest.mark.django_db
def test_a_compute_sees_what_it_sets_and_unsets_itself() -> None:
    found: list[Any] = []

    class Writer(Primer):
        key_base = "dep_writer"

        def compute(self, key: Any) -> Any:
            found.append(cache.get("any/1"))
            cache.set("any/1", 2)
            found.append(cache.get("any/1"))
            cache.unset("any/1")
            with pytest.raises(NotPrimed):
                cache.get("any/1")
            cache.set("any/1", 3)
            found.append(cache.get("any/1"))
            return 0

    with registered(Writer):
        cache.set("any/1", 1)
        cache.get("dep_writer")
    assert found == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_a_hint_ends_with_its_tree_and_no_other_thread_has_it(
    threads: Callable[..., Thread], gate: Gate
) -> None:
    class Twice(Primer):
        key_base = "dep_twice"
        parameters = [IntegerParameter("n")]

        def compute(self, key: Any) -> Any:
            first = cache.get("any/1")
            if key.params["n"] == 1:
                gate.stop()
            return [first, cache.get("any/1")]

    with registered(Twice):
        cache.set("any/1", "old")
        one = threads(lambda: cache.get("dep_twice/1"))
        gate.reached()
        cache.set("any/1", "new")
        # Another tree, while the first is under way, knows nothing of what that one has read.
        assert cache.get("dep_twice/2") == ["new", "new"]
        gate.open()
        assert one.result() in (["old", "old"], ["new", "new"])  # never a mixture
        assert cache.get("dep_twice/1") == ["new", "new"]


# -- the graph, and why --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_graph_shows_declared_and_recorded_edges_with_their_mode(names: None) -> None:
    ada = Author.objects.create(name="Ada")
    cache.get(f"dep_greeting/{ada.pk}")
    edges = explaining.graph()
    assert ("dep_name", "dep_titles", "refresh") in edges
    assert (f"dep_name/{ada.pk}", f"dep_greeting/{ada.pk}", "stale") in edges
    assert ("shop.Book", "book_count", "stale") in edges
    near = explaining.graph([registry.key(f"dep_name/{ada.pk}")])
    assert (f"dep_name/{ada.pk}", f"dep_greeting/{ada.pk}", "stale") in near
    assert ("shop.Book", "book_count", "stale") not in near


@pytest.mark.django_db
def test_explain_says_what_a_product_is_made_of_and_why_it_was_refreshed(names: None) -> None:
    ada = Author.objects.create(name="Ada")
    name, greeting, titles = (f"dep_{base}/{ada.pk}" for base in ("name", "greeting", "titles"))
    cache.get_many([greeting, titles])
    version = cache.get_entry(name).version
    assert cache.explain(greeting)["needs"] == [{"key": name, "mode": "stale", "version_read": version}]
    assert {"key": greeting, "mode": "stale", "version_read": version} in cache.explain(name)["feeds"]
    cache.set(name, "Grace")
    assert cache.explain(greeting)["cause"] == "something it was made from has changed"
    assert "a refresh is wanted" in cache.explain(titles)["cause"]
    run_worker()
    last = cache.explain(titles)["last_run"]
    assert (last["reason"], last["outcome"]) == (f"{name} set", "unchanged")
    cache.refresh(titles)
    assert cache.explain(titles)["last_run"]["reason"] == "manual"
