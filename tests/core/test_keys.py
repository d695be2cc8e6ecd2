"""A product's name: typed parameters, one text, and back (features 1 to 11, 14 to 16)."""

from __future__ import annotations

import copy
import enum
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kck_flow import (
    BooleanParameter,
    Cache,
    ChoiceParameter,
    DateParameter,
    DateTimeParameter,
    DecimalParameter,
    FloatParameter,
    IntegerParameter,
    ModelParameter,
    Primer,
    StringParameter,
    UUIDParameter,
    cached,
)
from kck_flow import key as keys
from kck_flow.errors import DeclarationError, InvalidKey, KckFlowError, NotPrimed, UnknownPrimer
from kck_flow.mistakes import problems
from kck_flow.models import DataProduct
from kck_flow.parameter import Parameter, parameters
from kck_flow.registry import registry
from tests.core.conftest import Declared
from tests.shop.models import Author, Book


class Colour(enum.Enum):
    RED = "red"
    BLUE = "deep/blue"


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["", "/", "%", "%2F", "a/b", "ü%2F", "$", "!", " ", "\n", "\x7f", "%%", "..", "😀", "０"]
)
parts: dict[str, tuple[Parameter[Any], st.SearchStrategy[Any]]] = {
    "text": (StringParameter("p"), texts.filter(lambda text: "\0" not in text)),
    "int": (IntegerParameter("p"), st.integers() | st.sampled_from([0, -1, 10**3999, -(10**3000)])),
    "float": (FloatParameter("p"), st.floats(allow_nan=False, allow_infinity=False)),
    "decimal": (
        DecimalParameter("p"),
        st.decimals(allow_nan=False, allow_infinity=False)
        .filter(lambda number: abs(number.adjusted()) <= 1000)
        .map(lambda number: number),
    ),
    "bool": (BooleanParameter("p"), st.booleans()),
    "date": (DateParameter("p"), st.dates()),
    "datetime": (
        DateTimeParameter("p"),
        st.datetimes(
            min_value=datetime(2, 1, 1),  # noqa: DTZ001  (an hour before year 1 is no instant)
            max_value=datetime(9998, 12, 31),  # noqa: DTZ001
            timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
        ),
    ),
    "uuid": (UUIDParameter("p"), st.uuids()),
    "choice": (ChoiceParameter("p", Colour), st.sampled_from(["red", "deep/blue"])),
    "choice of ints": (ChoiceParameter("p", [(1, "One"), (2, "Two")]), st.sampled_from([1, 2])),
    "model": (ModelParameter("p", "shop.Author"), st.integers(-(2**63), 2**63 - 1)),
    "plain": (Parameter("p", from_str=int), st.integers()),
}


@pytest.mark.parametrize("kind", parts)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_key_survives_text_and_back(kind: str, data: st.DataObject) -> None:
    parameter, values = parts[kind]
    value = data.draw(values)
    key = keys.build("p", [parameter], {"p": value})
    again = keys.parse(str(key), [parameter])
    assert again == key
    assert again.params["p"] == value == key.params["p"]
    assert type(again.params["p"]) is type(key.params["p"])
    assert again.digest == key.digest
    assert keys.parse(str(again), [parameter]) == again, "the canonical text is its own canonical text"
    assert str(key).count("/") == 1
    # What stands in the tables is JSON, and the same for equal values.
    assert parameter.to_json(key.params["p"]) == parameter.to_json(again.params["p"])


@settings(max_examples=300, deadline=None)
@given(texts, texts, st.integers(), st.booleans())
@example("a/b", "", 0, False)
@example("", "%", 0, True)
def test_keys_of_several_parts_survive_together_and_differ_where_a_part_differs(
    one: str, two: str, number: int, default: bool
) -> None:
    if "\0" in one + two:
        return
    declared = [
        StringParameter("one"),
        IntegerParameter("n"),
        StringParameter("two", default="x" if default else ""),
    ]
    key = keys.build("p", declared, {"one": one, "n": number, "two": two})
    again = keys.parse(str(key), declared)
    assert dict(again.params) == {"one": one, "n": number, "two": two}
    other = keys.build("p", declared, {"one": one + "!", "n": number, "two": two})
    assert other != key
    assert other.digest != key.digest


def test_any_text_is_a_legal_part_and_different_texts_are_different_keys() -> None:
    declared = [StringParameter("n")]
    made = {keys.build("p", declared, {"n": text}) for text in ("a/b", "", "ü%2F", "a%2Fb")}
    assert len(made) == 4
    assert {keys.parse(key, declared).params["n"] for key in made} == {"a/b", "", "ü%2F", "a%2Fb"}


def test_a_key_is_its_text_and_knows_its_parts() -> None:
    key = keys.build(
        "revenue",
        [IntegerParameter("customer"), DateParameter("day")],
        {"customer": "42", "day": "2026-01-31"},
    )
    assert key == "revenue/42/2026-01-31"
    assert key.key_base == "revenue"
    assert dict(key.params) == {"customer": 42, "day": date(2026, 1, 31)}
    with pytest.raises(TypeError):
        key.params["customer"] = 1  # type: ignore[index]
    for twin in (pickle.loads(pickle.dumps(key)), copy.copy(key), copy.deepcopy(key)):
        assert twin == key
        assert dict(twin.params) == dict(key.params)
        assert twin.digest == key.digest


@pytest.mark.parametrize(
    ("parameter", "spellings", "canonical"),
    [
        (IntegerParameter("p"), ["7", "007", "+7", " 7 ", 7], "7"),
        (FloatParameter("p"), ["0.5", ".5", "5e-1", 0.5], "0.5"),
        (FloatParameter("p"), ["-0.0", "0", 0, -0.0], "0.0"),
        (DecimalParameter("p"), ["1.00", "1", "1E0", Decimal("1.0"), 1], "1"),
        (DecimalParameter("p"), ["1E+3", "1000", Decimal("1E+3")], "1000"),
        (DecimalParameter("p"), ["-0.00", "0", Decimal("-0")], "0"),
        (BooleanParameter("p"), ["true", "TRUE", "1", "on", "yes", True, 1], "true"),
        (DateParameter("p"), ["2026-01-31", "20260131", date(2026, 1, 31)], "2026-01-31"),
        (
            DateTimeParameter("p"),
            ["2026-01-31T11:00+01:00", "2026-01-31T10:00:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)],
            "2026-01-31T10:00:00Z",
        ),
        (
            DateTimeParameter("p", tz="America/New_York"),
            ["2026-07-01T08:00", datetime(2026, 7, 1, 8)],  # noqa: DTZ001
            "2026-07-01T12:00:00Z",
        ),
        (
            UUIDParameter("p"),
            ["{0000000A-0000-0000-0000-000000000000}", UUID(int=10 << 96)],
            "0000000a-0000-0000-0000-000000000000",
        ),
        (ChoiceParameter("p", Colour), ["red", Colour.RED], "red"),
    ],
)
def test_equal_values_have_one_spelling(
    parameter: Parameter[Any], spellings: list[Any], canonical: str
) -> None:
    assert {str(keys.build("p", [parameter], {"p": spelled})) for spelled in spellings} == {f"p/{canonical}"}
    for spelled in spellings:
        if isinstance(spelled, str):
            assert keys.parse(f"p/{keys.escape(spelled)}", [parameter]) == f"p/{canonical}"


@pytest.mark.parametrize(
    ("parameter", "wrong"),
    [
        (IntegerParameter("p"), ["x", "1.5", "", "1_000", 1.5, True, None, 10**5000]),
        (FloatParameter("p"), ["x", "nan", "inf", float("nan"), True, None]),
        (DecimalParameter("p"), ["x", "NaN", "Infinity", "1E+9999", True, None, Decimal("sNaN")]),
        (BooleanParameter("p"), ["maybe", "", None, 2]),
        (DateParameter("p"), ["2026-02-30", "today", 5, None, datetime(2026, 1, 1, tzinfo=UTC)]),
        (
            DateTimeParameter("p"),
            [
                "yesterday",
                "2026-13-01T00:00Z",
                None,
                5,
                datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
            ],
        ),
        (UUIDParameter("p"), ["x", "", None, 5]),
        (ChoiceParameter("p", Colour), ["green", None, 5]),
        (ModelParameter("p", "shop.Author"), ["x", None, True, 1.5]),
        (StringParameter("p"), [5, None, b"x", "a\0b", "\ud800"]),
        (Parameter("p", from_str=int), ["x", None, [1]]),
        (Parameter("p", from_str={"a": 1}.__getitem__), ["x", None, 5]),
        (Parameter("p", from_str=lambda text: 1 / int(text)), ["x", "0", None]),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_names_the_parameter(
    parameter: Parameter[Any], wrong: list[Any]
) -> None:
    for value in wrong:
        with pytest.raises(InvalidKey) as caught:
            keys.build("p", [parameter], {"p": value})
        assert isinstance(caught.value, KeyError)
        assert "p" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_model_parameter_takes_an_instance_and_holds_its_primary_key() -> None:
    author = Author(pk=7, name="x")
    assert keys.build("p", [ModelParameter("author", Author)], {"author": author}) == "p/7"
    with pytest.raises(InvalidKey, match="is it saved"):
        keys.build("p", [ModelParameter("author", Author)], {"author": Author()})


# -- arity, defaults, canonical form ---------------------------------------------


@pytest.mark.django_db
def test_wrong_arity_and_type_are_named_errors_that_quote_the_key(declare: Declared, cache: Cache) -> None:
    declare("title_list", 1, parameters=[IntegerParameter("author")])
    for text, expected in (
        ("title_list", "lacks 'author'"),
        ("title_list/", "author must be an int"),
        ("title_list/7/8", "2 parts after its name"),
        ("title_list/x", "author must be an int, not 'x'"),
        ("title_list/7%", "bare %"),
        ("title_list/%FF", "author"),
    ):
        for ask in (
            cache.get,
            cache.get_entry,
            cache.is_set,
            cache.unset,
            cache.invalidate,
            cache.refresh,
            cache.explain,
        ):
            with pytest.raises(InvalidKey) as caught:
                ask(text)
            assert text in str(caught.value)
            assert expected in str(caught.value)
        with pytest.raises(InvalidKey):
            cache.set(text, 1)
    assert not DataProduct.objects.exists()
    assert declare.calls == []


@pytest.mark.django_db
def test_a_default_and_its_explicit_value_are_one_product(declare: Declared, cache: Cache) -> None:
    declare(
        "page",
        lambda key: dict(key.params),
        parameters=[
            IntegerParameter("n", default=3),
            StringParameter("s", default=""),
            DateParameter("d", default=None),
        ],
    )
    spelled = ["page", "page/", "page/3", "page/3/%", "page/3/", "page/03//"]
    assert {str(registry.key(text)) for text in spelled} == {"page/3/%/"}
    for text in spelled:
        assert cache.get(text) == {"n": 3, "s": "", "d": None}
    assert declare.count("page/3/%/") == 1
    assert cache.build_key("page") == cache.build_key("page", n=3, s="", d=None) == "page/3/%/"
    assert cache.build_key("page", n=4, d=date(2026, 1, 1)) == "page/4/%/2026-01-01"


def test_building_with_an_unknown_or_missing_parameter_says_which(declare: Declared, cache: Cache) -> None:
    declare("page", 1, parameters=[IntegerParameter("author"), IntegerParameter("n", default=1)])
    with pytest.raises(InvalidKey, match=r"no parameter 'autor'\. It takes: author, n"):
        cache.build_key("page", autor=1)
    with pytest.raises(InvalidKey, match=r"needs a value for 'author': page/<author>/\[n\]"):
        cache.build_key("page")
    with pytest.raises(UnknownPrimer, match="Did you mean 'page'"):
        cache.build_key("pag", author=1)


# -- long, strange, ours ---------------------------------------------


@pytest.mark.django_db
def test_a_key_of_five_thousand_characters_is_set_got_refreshed_and_listed(
    declare: Declared, cache: Cache
) -> None:
    declare("long", lambda key: len(key.params["t"]), parameters=[StringParameter("t")])
    text = "".join(chr(0x4E00 + i % 5000) for i in range(5000))
    key = cache.build_key("long", t=text)
    assert cache.get(key) == 5000
    assert cache.refresh(str(key)).value == 5000
    assert cache.set(key, 7).value == 7
    assert cache.get(str(key)) == 7
    assert cache.get_many([key]) == {key: 7}
    assert DataProduct.objects.get().key == key
    general = "no-primer:" + "".join(f"{i * 7919 % 100003:05}" for i in range(1000))
    cache.set(general, 1)
    assert cache.get(general) == 1
    assert cache.is_set(general)
    cache.invalidate(general)
    with pytest.raises(NotPrimed):
        cache.get(general)


def test_a_key_past_the_setting_is_refused(declare: Declared, cache: Cache, settings: Any) -> None:
    declare("long", 1, parameters=[StringParameter("t")])
    settings.KCK_FLOW = {"KEY_MAX_CHARS": 100}
    for ask in (
        lambda: cache.build_key("long", t="x" * 200),
        lambda: cache.get("long/" + "x" * 200),
        lambda: cache.set("any/" + "x" * 200, 1),
    ):
        with pytest.raises(InvalidKey, match=r"has 20\d characters.*KEY_MAX_CHARS"):
            ask()


@pytest.mark.django_db
def test_what_is_no_text_is_no_key(declare: Declared, cache: Cache) -> None:
    for wrong in (None, 5, b"page", ["page"], {}):
        for ask in (
            cache.get,
            cache.get_entry,
            cache.is_set,
            cache.unset,
            cache.refresh,
            cache.explain,
            cache.primer,
        ):
            with pytest.raises(InvalidKey, match="A key is a text, not"):
                ask(wrong)  # type: ignore[operator]
        with pytest.raises(InvalidKey, match="A key is a text, not"):
            cache.set(wrong, 1)  # type: ignore[arg-type]
        with pytest.raises(UnknownPrimer):
            cache.build_key(wrong)  # type: ignore[arg-type]
    assert not DataProduct.objects.exists()


@pytest.mark.django_db
def test_a_users_keys_cannot_collide_with_our_own_records(declare: Declared, cache: Cache) -> None:
    declare("KCK", "mine", parameters=[StringParameter("name", default="")])
    ours = keys.internal("plan", "KCK")
    assert cache.get("KCK") == "mine"
    assert cache.get("KCK/lock") == "mine"
    for text in (str(ours), "!x", "/", "/x", ""):
        with pytest.raises(InvalidKey):
            cache.get(text)
        with pytest.raises(InvalidKey):
            cache.set(text, 1)
    names = {row.key for row in DataProduct.objects.all()}
    assert names == {"KCK/%", "KCK/lock"}
    for wrong in ("!x", "a/b", "", "1a", "a b", "x" * 300):
        made = type("Wrong", (Primer,), {"key_bases": [wrong], "compute": lambda self, key: 1})
        assert any("key_base" in what for what, _ in problems(made)) or wrong == ""


@pytest.mark.django_db
def test_one_class_may_serve_several_bases(declare: Declared, cache: Cache) -> None:
    primer = declare("one", lambda key: key.key_base, key_bases=["two"])
    assert primer.key_base_list == ("one", "two")
    assert (cache.get("one"), cache.get("two")) == ("one", "two")
    assert cache.primer("one") is cache.primer("two")
    assert cache.build_key("two") == "two"


@pytest.mark.django_db
def test_keys_without_a_primer_are_a_general_cache(cache: Cache) -> None:
    assert cache.set("any/1", 5).version == 1
    assert cache.get("any/1") == 5
    with pytest.raises(UnknownPrimer, match="No primer is named 'any'"):
        cache.get("any/2")
    with pytest.raises(UnknownPrimer):
        cache.refresh("any/1")
    assert cache.unset("any/1")
    with pytest.raises(NotPrimed, match="unset"):
        cache.get("any/1")
    assert cache.get("any/1", None) is None


# -- declaring ---------------------------------------------


def test_a_class_in_an_apps_primers_module_is_registered_by_existing() -> None:
    names = {primer.name for primer in registry.unique()}
    assert {"first_data_product", "book_count"} <= names


@pytest.mark.django_db
def test_the_form_that_the_ancestors_document_works_verbatim(cache: Cache) -> None:
    author = Author.objects.create(name="A")
    Book.objects.create(author=author, title="T")
    assert cache.get(f"first_data_product/{author.pk}") == {"id": author.pk, "titles": ["T"]}
    primer = cache.primer("first_data_product")
    assert primer.key_to_param_dict("first_data_product/7") == {"id": 7}
    with pytest.raises(InvalidKey, match="id must be an int, not 'x'"):
        cache.get("first_data_product/x")


def test_parameters_are_objects_or_dicts_and_nothing_else() -> None:
    (made,) = parameters([{"name": "id", "from_str": int}])
    assert made.from_text("7") == 7
    for wrong, says in (
        ([{"nam": "id"}], "not understood"),
        (["id"], "not 'id'"),
        ([IntegerParameter("a"), StringParameter("a")], "Two parameters are named 'a'"),
    ):
        with pytest.raises(DeclarationError, match=says):
            parameters(wrong)
    with pytest.raises(DeclarationError, match="Parameter 'n': its default must be an int, not 'x'"):
        IntegerParameter("n", default="x")
    with pytest.raises(DeclarationError, match="identifier"):
        IntegerParameter("not a name")


def test_importing_a_primer_does_not_register_it_again_and_an_abstract_one_not_at_all() -> None:
    before = dict(registry.primers)

    class Abstract(Primer):
        def compute(self, key: Any) -> Any:
            return 1

    import types

    module = types.ModuleType("somewhere.primers")
    module.Abstract = Abstract  # type: ignore[attr-defined]
    module.Borrowed = type(registry.primers["book_count"])  # type: ignore[attr-defined]
    Abstract.__module__ = "somewhere.primers"
    registry.register_module(module)
    assert registry.primers == before
    assert registry.duplicates == []


# -- functions ---------------------------------------------


@pytest.mark.django_db
def test_a_cached_function_meets_in_one_entry_however_it_is_called(declare: Declared) -> None:
    ran = []

    @cached("cached_sum")
    def add(a: int, b: int = 2, *, why: Any = None, when: date | None = None) -> int:
        ran.append((a, b, why, when))
        return a + b

    declare.classes.append(type(add.primer))
    assert add(1) == add(1, 2) == add(a=1, b=2) == add(b=2, a=1, why=None) == 3
    assert len(ran) == 1
    assert add(1, why={"x": [1, 2], "a": 1}) == add(1, why={"a": 1, "x": [1, 2]}) == 3
    assert len(ran) == 2, "equal arguments are one entry, whatever order a dict was written in"
    assert add.uncached(1) == 3
    assert add.key(1) == add.key(1, b=2)
    assert add.key(1).key_base == "cached_sum"


def test_a_cached_function_with_nameless_arguments_is_refused_at_once() -> None:
    with pytest.raises(DeclarationError, match="no name for a key"):

        @cached("variadic")
        def wrong(*numbers: int) -> int:
            return 0

    assert "variadic" not in registry.primers


def test_every_error_of_a_key_is_ours_and_a_key_error() -> None:
    for kind in (InvalidKey, UnknownPrimer, NotPrimed):
        assert issubclass(kind, KckFlowError)
        assert issubclass(kind, KeyError)
        assert str(kind("A sentence.")) == "A sentence."


@pytest.mark.django_db
def test_nothing_but_the_placeholder_carries_a_users_text_into_sql(cache: Cache) -> None:
    text = "any/'; DROP TABLE kck_product; --"
    cache.set(text, 1)
    assert cache.get(text) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kck_product")
        assert cursor.fetchone() == (1,)
