"""Rows that products depend on, watched by triggers: whoever writes them, it is told at the commit, once."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, models, transaction
from django.db.models import Sum
from hypothesis import given, settings
from hypothesis import strategies as st

from kck_flow import (
    BooleanParameter,
    Cache,
    DateParameter,
    DateTimeParameter,
    DecimalParameter,
    FloatParameter,
    IntegerParameter,
    ModelParameter,
    On,
    Primer,
    StringParameter,
    UUIDParameter,
    spelling,
)
from kck_flow.changes import rows, watches
from kck_flow.management.verbs import checking
from kck_flow.models import Pending
from kck_flow.store.session import caller
from kck_flow.testing import assert_augment_equals_compute, assert_computes, registered, run_worker
from tests.core.conftest import Thread, at_rest
from tests.shop.models import Author, Book, Customer, Order, Parcel

pytestmark = pytest.mark.django_db(transaction=True)
cache = Cache.get_instance()


class Titles(Primer):
    """An author's titles."""

    key_base = "rows_titles"
    parameters = [IntegerParameter("author")]
    depends_on = [On(Book, key="author_id", fields=["title", "author"])]

    def compute(self, key: Any) -> Any:
        of_one = Book.objects.filter(author_id=key.params["author"])
        return list(of_one.order_by("title").values_list("title", flat=True))


class Longest(Primer):
    """The longest of an author's titles: made from them, by an edge that was recorded."""

    key_base = "rows_longest"
    parameters = [IntegerParameter("author")]

    def compute(self, key: Any) -> Any:
        return max(cache.get(f"rows_titles/{key.params['author']}"), key=len, default="")


class Shelf(Primer):
    """How many titles an author has: an edge that is declared."""

    key_base = "rows_shelf"
    parameters = [IntegerParameter("author")]
    depends_on = [On("rows_titles")]

    def compute(self, key: Any) -> Any:
        return Book.objects.filter(author_id=key.params["author"]).count()


class Total(Primer):
    """What all orders sum up to; a moment old will do."""

    key_base = "rows_total"
    depends_on = [On(Order, then="refresh", fields=["cents"])]

    def compute(self, key: Any) -> Any:
        return Order.objects.aggregate(total=Sum("cents"))["total"] or 0


class Revenue(Primer):
    """What a customer's orders sum up to."""

    key_base = "rows_revenue"
    parameters = [IntegerParameter("customer")]
    depends_on = [On(Order, key="customer_id", then="augment", fields=["cents"])]

    def compute(self, key: Any) -> Any:
        of_one = Order.objects.filter(customer_id=key.params["customer"])
        return of_one.aggregate(total=Sum("cents"))["total"] or 0

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        new, old = (
            sum(getattr(c, side).cents for c in changes if getattr(c, side)) for side in ("new", "old")
        )
        return value + new - old


class ByLetter(Primer):
    """Titles by their first letter, which a function tells."""

    key_base = "rows_letter"
    parameters = [StringParameter("letter")]
    depends_on = [On(Book, key=lambda change: [row.title[0] for row in (change.old, change.new) if row])]

    def compute(self, key: Any) -> Any:
        return Book.objects.filter(title__startswith=key.params["letter"]).count()


class Undone(Exception):
    """What a savepoint ends by."""


@pytest.fixture(autouse=True)
def watched() -> Iterator[None]:
    with registered(Titles, Longest, Shelf, Total, Revenue, ByLetter):
        rows.install("default")
        Pending.objects.all().delete()
        yield
    rows.install("default")
    serving = {
        name
        for found in rows._installed(caller("default")).values()
        for name in found["insert"][2].split('"')
    }
    assert not any(name.startswith("rows_") for name in serving)


@pytest.fixture
def author() -> Author:
    return Author.objects.create(name="Eliot")


def copy_books(author: Author, *titles: str) -> None:
    text = "".join(f"{author.pk}\t{title}\t1.00\t0\n" for title in titles)
    with connection.cursor() as cursor:
        statement = "COPY shop_book (author_id, title, price, sold) FROM STDIN"
        if hasattr(cursor.cursor, "copy_expert"):
            cursor.cursor.copy_expert(statement, io.StringIO(text))
        else:
            with cursor.copy(statement) as copy:
                copy.write(text)


def sql(text: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text, params)


WRITES: dict[str, Callable[[Author], Any]] = {
    "save": lambda author: Book(author=author, title="Romola").save(),
    "bulk_create": lambda author: Book.objects.bulk_create([Book(author=author, title="Romola")]),
    "bulk_create of a conflict": lambda author: Book.objects.bulk_create(
        [Book(pk=Book.objects.get().pk, author=author, title="Romola")],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["title"],
    ),
    "update": lambda author: Book.objects.update(title="Romola"),
    "bulk_update": lambda author: Book.objects.bulk_update(
        [Book(pk=one.pk, title="Romola") for one in Book.objects.all()], ["title"]
    ),
    "delete of a queryset": lambda author: Book.objects.filter(author=author).delete(),
    "raw SQL": lambda author: sql("UPDATE shop_book SET title = 'Romola'"),
    "raw SQL delete": lambda author: sql("DELETE FROM shop_book"),
    "COPY": lambda author: copy_books(author, "Romola", "Felix Holt"),
    "MERGE": lambda author: sql(
        "MERGE INTO shop_book b USING (VALUES (1)) AS v (x) ON b.author_id = %s "
        "WHEN MATCHED THEN UPDATE SET title = 'Romola'",
        author.pk,
    ),
    "TRUNCATE": lambda author: sql("TRUNCATE shop_book"),
}


@pytest.mark.parametrize("write", WRITES)
def test_83_whoever_writes_a_row_the_product_is_stale_after_the_commit(author: Author, write: str) -> None:
    other = Author.objects.create(name="James")
    Book.objects.create(author=author, title="Middlemarch")
    own, others = f"rows_titles/{author.pk}", f"rows_titles/{other.pk}"
    assert cache.get(own) == ["Middlemarch"]
    assert cache.get(others) == []
    before = cache.get_entry(others).computed_at
    with transaction.atomic():
        WRITES[write](author)
        assert Thread(lambda: cache.get(own)).result() == ["Middlemarch"]  # not committed yet
    found = list(Book.objects.filter(author=author).order_by("title").values_list("title", flat=True))
    assert found != ["Middlemarch"]
    assert cache.get(own) == found
    if write != "TRUNCATE":
        assert cache.get_entry(others).computed_at == before


def test_83_a_cascade_in_the_database_is_told(author: Author) -> None:
    Book.objects.create(author=author, title="Middlemarch")
    assert cache.get(f"rows_titles/{author.pk}") == ["Middlemarch"]
    sql(
        "ALTER TABLE shop_book ADD CONSTRAINT gone FOREIGN KEY (author_id) REFERENCES shop_author ON DELETE CASCADE"
    )
    try:
        sql("SET CONSTRAINTS ALL IMMEDIATE")
        names = "SELECT conname FROM pg_constraint WHERE conrelid = 'shop_book'::regclass AND contype = 'f'"
        with connection.cursor() as cursor:
            cursor.execute(f"{names} AND confdeltype = 'a'")
            own = [name for (name,) in cursor.fetchall()]
        with transaction.atomic():
            for name in own:
                sql(f'ALTER TABLE shop_book ALTER CONSTRAINT "{name}" DEFERRABLE INITIALLY DEFERRED')
            sql("DELETE FROM shop_author WHERE id = %s", author.pk)
    finally:
        sql("ALTER TABLE shop_book DROP CONSTRAINT gone")
    assert cache.get(f"rows_titles/{author.pk}") == []


def test_a_rollback_and_a_savepoint_take_the_marks_along(author: Author) -> None:
    key = f"rows_titles/{author.pk}"
    assert cache.get(key) == []
    before = cache.get_entry(key).computed_at
    with transaction.atomic():
        with suppress(Undone), transaction.atomic():
            Book.objects.bulk_create([Book(author=author, title="Romola")])
            assert cache.get(key) == ["Romola"]
            raise Undone
        assert cache.get(key) == []
    assert not Pending.objects.filter(key_base="rows_titles").exists()
    assert cache.get_entry(key).computed_at == before


def test_what_is_below_is_stale_with_it_recorded_and_declared(author: Author) -> None:
    longest, shelf = f"rows_longest/{author.pk}", f"rows_shelf/{author.pk}"
    assert cache.get(longest) == ""
    assert cache.get(shelf) == 0
    Book.objects.bulk_create([Book(author=author, title=title) for title in ("Romola", "Middlemarch")])
    assert cache.get(longest) == "Middlemarch"
    assert cache.get(shelf) == 2


def test_a_row_that_moves_reaches_both_and_one_that_stays_as_it_was_none(author: Author) -> None:
    other = Author.objects.create(name="James")
    book = Book.objects.create(author=author, title="Romola")
    assert cache.get(f"rows_titles/{author.pk}") == ["Romola"]
    assert cache.get(f"rows_titles/{other.pk}") == []
    Pending.objects.all().delete()
    Book.objects.update(sold=7)
    Book.objects.update(title="Romola")
    book.save()
    assert not Pending.objects.filter(key_base="rows_titles").exists()
    Book.objects.update(author=other)
    assert cache.get(f"rows_titles/{author.pk}") == []
    assert cache.get(f"rows_titles/{other.pk}") == ["Romola"]


def test_refresh_is_wanted_and_the_old_value_served_meanwhile() -> None:
    customer = Customer.objects.create(name="Anna")
    assert cache.get("rows_total") == 0
    Order.objects.bulk_create([Order(customer=customer, cents=5)])
    assert cache.get_entry("rows_total").value == 0
    run_worker()
    at_rest()  # the read has it computed here, too: who is first has the lease
    assert cache.get("rows_total") == 5


def test_augment_is_exact_whoever_writes_and_a_save_is_told_once() -> None:
    anna, ben = Customer.objects.create(name="Anna"), Customer.objects.create(name="Ben")
    keys = [f"rows_revenue/{one.pk}" for one in (anna, ben)]
    assert [cache.get(key) for key in keys] == [0, 0]
    with assert_computes(0):
        written_and_folded(anna, ben, keys)
    for key in keys:
        assert_augment_equals_compute(key)
    Parcel.objects.create(customer=ben, cents=1)  # its parent's row is an order
    assert cache.get(keys[1]) == 510


def written_and_folded(anna: Customer, ben: Customer, keys: list[str]) -> None:
    order = Order.objects.create(customer=anna, cents=500)
    Order.objects.bulk_create([Order(customer=anna, cents=30), Order(customer=ben, cents=7)])
    assert [cache.get(key) for key in keys] == [530, 7]
    order.customer = ben
    order.save()
    sql("UPDATE shop_order SET cents = cents + 1")
    Order.objects.filter(cents=31).delete()
    assert [cache.get(key) for key in keys] == [0, 509]
    run_worker()
    assert not Pending.objects.filter(kind="change").exists()
    assert [cache.get(key) for key in keys] == [0, 509]


def test_a_trigger_put_in_place_between_two_saves_tells_each_change_once() -> None:
    """The belief of the process is a second old: what says the truth is the transaction itself."""
    anna = Customer.objects.create(name="Anna")
    key = f"rows_revenue/{anna.pk}"
    rows._drop(caller("default"), "shop_order")
    rows.forget()
    assert cache.get(key) == 0
    Order.objects.create(customer=anna, cents=1)  # told by signals, and the process remembers that
    assert cache.get(key) == 1

    def migrate() -> None:
        believed = dict(rows._believed)
        rows.install("default")
        rows._believed.update(believed)

    Thread(migrate).result()
    Pending.objects.exclude(kind="change").delete()
    Order.objects.create(customer=anna, cents=2)
    assert Pending.objects.filter(kind="change", key_base="rows_revenue").count() <= 2
    assert cache.get(key) == 3
    assert Order.objects.aggregate(total=Sum("cents"))["total"] == 3


def test_writers_at_random_leave_what_a_computation_says() -> None:
    customers = [Customer.objects.create(name=str(n)) for n in range(3)]
    for one in customers:
        cache.get(f"rows_revenue/{one.pk}")

    def write(seed: int) -> None:
        import random

        rng = random.Random(seed)
        for _ in range(40):
            one, other = rng.sample(customers, 2)
            with transaction.atomic():
                match rng.randrange(5):
                    case 0:
                        Order.objects.create(customer=one, cents=rng.randrange(100))
                    case 1:
                        many = [Order(customer=one, cents=rng.randrange(100)) for _ in range(5)]
                        Order.objects.bulk_create(many)
                    case 2:
                        pk = Order.objects.filter(customer=one).values_list("pk", flat=True).first()
                        Order.objects.filter(pk=pk).update(customer=other, cents=rng.randrange(100))
                    case 3:
                        pk = Order.objects.filter(customer=one).values_list("pk", flat=True).last()
                        sql("DELETE FROM shop_order WHERE id = %s", pk)
                    case _:
                        order = Order.objects.filter(customer=one).first()
                        if order is not None:
                            order.cents += 1
                            with suppress(DatabaseError), transaction.atomic():  # deleted meanwhile
                                order.save(force_update=True)
            if rng.random() < 0.2:
                cache.get(f"rows_revenue/{one.pk}")

    stop = threading.Event()

    def fold() -> None:
        while not stop.is_set():
            run_worker(["rows_revenue"])

    folding = Thread(fold)
    for thread in [Thread(lambda seed=seed: write(seed)) for seed in range(4)]:
        thread.result()
    stop.set()
    folding.result()
    for one in customers:
        total = Order.objects.filter(customer=one).aggregate(total=Sum("cents"))["total"] or 0
        assert cache.get(f"rows_revenue/{one.pk}") == total
    run_worker()
    for one in customers:
        assert_augment_equals_compute(f"rows_revenue/{one.pk}")


def test_what_only_python_can_tell_stays_with_the_signals_and_says_why(author: Author) -> None:
    assert cache.get("rows_letter/R") == 0
    Book.objects.create(author=author, title="Romola")
    assert cache.get("rows_letter/R") == 1
    on = ByLetter.depends_on[0]
    with registered(ByLetter) as (primer,):
        assert "a function tells" in watches.why_not(primer, on, "default")


def test_a_missing_trigger_is_told_and_migrate_mends_it(author: Author) -> None:
    key = f"rows_titles/{author.pk}"
    assert cache.get(key) == []
    assert rows.missing("default") == []
    sql("ALTER TABLE shop_book DISABLE TRIGGER kck_rows_update")
    assert rows.missing("default") == ['"shop_book"']
    assert any("shop_book" in one.text for one in checking.setup(["default"]))
    book = Book.objects.create(author=author, title="Adam Bede")
    run_worker()
    assert cache.get(key) == ["Adam Bede"]
    Book.objects.filter(pk=book.pk).update(title="Romola")
    assert rows.install("default") == ['"shop_book"']
    assert cache.get(key) == ["Romola"]  # what was written meanwhile is not lost
    assert rows.install("default") == []


def test_a_write_at_repeatable_read_is_told_too(author: Author) -> None:
    key = f"rows_titles/{author.pk}"
    assert cache.get(key) == []
    with transaction.atomic():
        sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        Book.objects.bulk_create([Book(author=author, title="Romola")])
    assert cache.get(key) == ["Romola"]


# -- keys, spelled by both
# ----------------------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)
SPELLED: list[tuple[Any, models.Field[Any, Any], str, Any]] = [
    (IntegerParameter, models.BigIntegerField(), "bigint", st.integers(-(2**63), 2**63 - 1)),
    (
        StringParameter,
        models.TextField(),
        "text",
        TEXTS | st.sampled_from(["", "%", "/", "a/b%c", "\x7f\n", "é%2F"]),
    ),
    (UUIDParameter, models.UUIDField(), "uuid", st.uuids()),
    (DateParameter, models.DateField(), "date", st.dates()),
    (BooleanParameter, models.BooleanField(), "boolean", st.booleans()),
    (
        DecimalParameter,
        models.DecimalField(max_digits=30, decimal_places=10),
        "numeric",
        st.decimals(-(10**15), 10**15, allow_nan=False, places=8)
        | st.sampled_from([Decimal("0.00"), Decimal("-0")]),
    ),
    (
        DateTimeParameter,
        models.DateTimeField(),
        "timestamptz",
        st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC)),  # noqa: DTZ001
    ),
]


@pytest.mark.once("oldest")
@pytest.mark.parametrize(
    ("kind", "field", "type_", "values"), SPELLED, ids=lambda one: getattr(one, "__name__", "")
)
@pytest.mark.parametrize("default", [False, True])
def test_sql_spells_a_key_as_python_does(
    kind: Any, field: Any, type_: str, values: Any, default: bool
) -> None:
    class Spelled(Primer):
        key_base = "rows_spelled"
        parameters = [
            kind("one", **({"default": None} if default else {})),
            IntegerParameter("two", default=3),
        ]

        def compute(self, key: Any) -> Any:
            return None

    field.set_attributes_from_name("column")
    with registered(Spelled) as (primer,):
        text = spelling.key(primer, {"one": spelling.part_of(field, '{row}"c"')})
        text = text.replace("{row}", "v.").replace("{kck}", "").replace("%", "%%")
        digest = watches._digest(text)

        @settings(max_examples=150, deadline=None)
        @given(values)
        def spelled(value: Any) -> None:
            key = primer.build_key(one=value)
            with connection.cursor() as cursor:
                query = f"SELECT {text}, {digest} FROM (VALUES (CAST(%s AS {type_}))) AS v (c)"
                cursor.execute(query, [value])
                found, found_digest = cursor.fetchone()
            assert found == str(key)
            assert found_digest == key.digest

        spelled()


def test_what_is_spelled_in_a_way_of_its_own_is_left_to_python() -> None:
    class Own(Primer):
        key_base = "rows_own"
        parameters = [{"name": "author", "from_str": int}]
        depends_on = [On(Book, key="author_id")]

        def compute(self, key: Any) -> Any:
            return None

    class Price(Primer):
        key_base = "rows_price"
        parameters = [FloatParameter("price")]
        depends_on = [On(Book, key="price")]

        def compute(self, key: Any) -> Any:
            return None

    class Of(Primer):
        key_base = "rows_of"
        parameters = [ModelParameter("author", Author)]
        depends_on = [On(Book, key="author_id")]

        def compute(self, key: Any) -> Any:
            return None

    class Heard(Of):
        key_base, capture = "rows_heard", "signals"

    with registered(Own, Price, Of, Heard) as (own, price, of, heard):
        assert "in a way of its own" in watches.why_not(own, Own.depends_on[0], "default")
        assert "FloatParameter" in watches.why_not(price, Price.depends_on[0], "default")
        assert watches.why_not(of, Of.depends_on[0], "default") == ""
        assert watches.why_not(heard, Heard.depends_on[0], "default") == "capture is 'signals'"


# -- an edge that is declared otherwise by the next release
# ----------------------------------------------------------------------------------------------------------------------


class Before(Primer):
    """How many copies of an author's books were sold, as yesterday's code has it: it watches too little."""

    key_base = "rows_sold"
    parameters = [IntegerParameter("author")]
    depends_on = [On(Book, key="author_id", fields=["title"])]

    def compute(self, key: Any) -> Any:
        return Book.objects.filter(author_id=key.params["author"]).aggregate(sold=Sum("sold"))["sold"] or 0


class After(Before):
    """As today's code has it."""

    key_base = "rows_sold"
    depends_on = [On(Book, key="author_id", fields=["sold"])]


def test_a_save_is_told_where_the_triggers_are_of_another_release(author: Author) -> None:
    book = Book.objects.create(author=author, title="Romola")
    key = f"rows_sold/{author.pk}"
    with registered(Before):
        rows.install("default")
    with registered(After):
        assert cache.get(key) == 0
        book.sold = 3
        book.save()
        assert cache.get(key) == 3


def test_what_no_trigger_of_yesterday_watched_is_stale_once_todays_are_there(author: Author) -> None:
    Book.objects.create(author=author, title="Romola")
    key = f"rows_sold/{author.pk}"
    with registered(Before):
        rows.install("default")
    with registered(After):
        assert cache.get(key) == 0
        Book.objects.update(sold=3)
        rows.install("default")
        assert cache.get(key) == 3
        computed_at = cache.get_entry(key).computed_at
        assert rows.install("default") == []
        assert cache.get_entry(key).computed_at == computed_at


class Folding(Before):
    """The same, kept up: as yesterday's code has it."""

    key_base = "rows_folded"
    depends_on = [On(Book, key="author_id", then="augment", fields=["sold"])]

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        sides = [(side, sign) for c in changes for side, sign in ((c.new, 1), (c.old, -1)) if side]
        return value + sum(sign * side.sold for side, sign in sides)


class FoldingMore(Folding):
    """As today's code has it: it looks at the titles, too."""

    key_base = "rows_folded"
    depends_on = [On(Book, key="author_id", then="augment", fields=["sold", "title"])]


def test_a_change_is_folded_once_where_the_triggers_are_of_another_release(author: Author) -> None:
    key = f"rows_folded/{author.pk}"
    with registered(FoldingMore):
        rows.install("default")
    with registered(Folding):
        assert cache.get(key) == 0
        Book.objects.create(author=author, title="Romola", sold=3)
        assert cache.get(key) == 3
        run_worker()
        assert cache.get(key) == 3
