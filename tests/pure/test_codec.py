"""Laws and stories of the codec: what is stored comes back, through JSON and through jsonb."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kck_flow.codec import (
    JSON,
    Codec,
    SignedPickle,
    codec_named,
    decode,
    encode,
    encode_plain,
    register_codec,
)
from kck_flow.errors import KckFlowError, UnstorableValue

# --- jsonb, as PostgreSQL does it and as we imitate it ------------------------------------------------------


def like_jsonb(text: str) -> str:
    """What jsonb makes of JSON text, in Python: for the many examples. The real one has its own test."""

    def number(literal: str) -> Any:
        exact = Decimal(literal)
        return _Literal(format(exact if exact else abs(exact), "f"))

    def ordered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(sorted(dict(pairs).items(), key=lambda pair: (len(pair[0].encode()), pair[0].encode())))

    def refuse(literal: str) -> Any:
        raise ValueError(f"jsonb has no {literal}")

    read = json.loads(
        text, parse_int=number, parse_float=number, parse_constant=refuse, object_pairs_hook=ordered
    )
    return _write(read)


class _Literal(str):
    pass


def _write(value: Any) -> str:
    if isinstance(value, _Literal):
        return str(value)
    if isinstance(value, str):
        assert "\0" not in value
        value.encode()
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_write(key)}: {_write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_write, value)) + "]"
    return json.dumps(value)


def alike(one: Any, other: Any) -> bool:
    """Equal, of the same types all the way down, dicts in the same order, NaN like NaN, -0.0 not like 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            alike(a, b) and alike(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, set | frozenset):
        # Members are hashed by value; compare them in the one order that both have.
        return alike(sorted(map(deep, one)), sorted(map(deep, other)))
    return deep(one) == deep(other)


def deep(value: Any) -> str:
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({sorted(map(deep, value))})"
    if isinstance(value, tuple):
        return f"({', '.join(map(deep, value))})"
    if isinstance(value, datetime):
        offset = value.utcoffset()
        return f"datetime {value.isoformat()} {offset} {value.fold if offset is None else ''}"
    return f"{type(value).__name__} {value!r}"


texts = st.text(st.characters(codec=None)) | st.sampled_from(
    [
        "",
        "$",
        "$$",
        "$set",
        "$$odict",
        "\0",
        "a\0b",
        "\ud800",
        "\udfff\ud800",
        "😀",
        "\\u0000",
        '"$',
        "é",
        "zz",
        "𝄞",
    ]
)
offsets = st.integers(-86399, 86399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
floats = st.floats() | st.sampled_from([-0.0, 1e16, -1e16, 9007199254740993.0, 1e22, 5e-324, 1.5e300, 1e-7])
integers = st.integers() | st.sampled_from([10**16, -(10**40), 10**3000])
scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    floats,
    texts,
    st.decimals(),
    st.sampled_from([Decimal("1E+3"), Decimal("-0"), Decimal("0E-9"), Decimal("sNaN"), Decimal("1.10")]),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=offsets),
    st.datetimes().map(lambda at: at.replace(fold=1)),
    st.times(),
    st.times().map(lambda at: at.replace(fold=1)),
    st.times(timezones=offsets),
    st.timedeltas(),
    st.uuids(),
    st.binary(max_size=20),
)
members = st.recursive(
    # A signalling NaN cannot be hashed.
    scalars.filter(lambda value: not (isinstance(value, Decimal) and value.is_snan())),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(members, inner, max_size=3),
        st.sets(members, max_size=4),
        st.frozensets(members, max_size=4),
    ),
    max_leaves=20,
)
relaxed = settings(
    deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@relaxed
@given(values)
@example({"b": 1, "a": 2})
@example({"é": 1, "zz": 2, "𝄞": 3})
@example({"$odict": [["a", 1]], "$": {"$$": 1}})
@example({1: "int", "1": "text", 2.5: "float"})
@example([{}, [], (), set(), frozenset(), ""])
def test_every_value_survives_jsonb_with_its_types_and_order(value: Any) -> None:
    text = encode(value)
    assert alike(decode(text), value)
    assert alike(decode(like_jsonb(text)), value)


@relaxed
@given(values)
def test_encoding_again_what_came_back_gives_the_same_text(value: Any) -> None:
    text = encode(value)
    assert encode(decode(like_jsonb(text))) == text


@relaxed
@given(values)
def test_plain_json_is_json_that_jsonb_accepts(value: Any) -> None:
    text = encode_plain(value)
    like_jsonb(text)
    text.encode()


@pytest.fixture(scope="module")
def jsonb() -> Iterator[Callable[[str], str]]:
    """PostgreSQL itself."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        pytest.skip("DATABASE_URL names no PostgreSQL, and only a real one can prove the round trip")
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(url, autocommit=True) as connection:
        # bytes by hand: the driver must not have an opinion on what the text means
        yield lambda text: connection.execute("SELECT %s::text::jsonb::text", [text]).fetchone()[0]


@settings(
    relaxed, suppress_health_check=[*relaxed.suppress_health_check, HealthCheck.function_scoped_fixture]
)
@given(values)
def test_every_value_survives_postgresql(jsonb: Callable[[str], str], value: Any) -> None:
    text = encode(value)
    stored = jsonb(text)
    assert alike(decode(stored), value)
    assert stored == like_jsonb(text), "our imitation of jsonb is not like jsonb"
    jsonb(encode_plain(value))


@settings(
    relaxed, suppress_health_check=[*relaxed.suppress_health_check, HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(texts, st.integers(0, 9), max_size=12))
def test_a_dict_in_jsonbs_own_order_is_stored_as_it_is(
    jsonb: Callable[[str], str], value: dict[str, int]
) -> None:
    clean = {key: item for key, item in value.items() if "\0" not in key and not has_surrogate(key)}
    in_order = json.loads(jsonb(json.dumps({"$" + k if k[:1] == "$" else k: v for k, v in clean.items()})))
    own = {key[1:] if key[:1] == "$" else key: item for key, item in in_order.items()}
    assert not {"$odict", "$order"} & set(json.loads(encode(own)))
    assert list(decode(jsonb(encode(own)))) == list(own)


def has_surrogate(text: str) -> bool:
    return any(0xD800 <= ord(character) < 0xE000 for character in text)


# --- stories ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"id": 1, "name": "x", "total": 1.5}, '{"id":1,"name":"x","total":1.5}'),
        ({"name": "x", "id": 1}, '{"name":"x","id":1,"$order":"name,id"}'),
        ({"b": 1, "$a": 2}, '{"b":1,"$$a":2}'),
        ({"$b": 1, "a": (2,)}, '{"$$b":1,"a":{"$tuple":[2]},"$order":"$$b,a"}'),
        ({"$order": 1, "a": 2}, '{"$$order":1,"a":2,"$order":"$$order,a"}'),
        ({"b,c": 1, "a": 2}, '{"b,c":1,"a":2,"$order":["b,c","a"]}'),
        ({"a": 1, "": 2}, '{"a":1,"":2,"$order":"a,"}'),
        ({"b\0": 1, "a": 2}, '{"$odict":[[{"$str":"\\"b\\\\u0000\\""},1],["a",2]]}'),
        ({1: "a"}, '{"$odict":[[1,"a"]]}'),
        ({"$set": 1}, '{"$$set":1}'),
        ((1, 2), '{"$tuple":[1,2]}'),
        ({"b", "a"}, '{"$set":["a","b"]}'),
        ({10, 9}, '{"$set":[9,10]}'),
        (-0.0, '{"$float":"-0.0"}'),
        (1e16, '{"$float":"1e+16"}'),
        (1e15, "1000000000000000.0"),
        (Decimal("1.10"), '{"$decimal":"1.10"}'),
        (date(2026, 1, 31), '{"$date":"2026-01-31"}'),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), '{"$datetime":"2026-01-31T12:00:00+00:00"}'),
        (timedelta(days=-1, seconds=2), '{"$timedelta":[-1,2,0]}'),
        (b"\0\xff", '{"$bytes":"AP8="}'),
        ("a\0b", '{"$str":"\\"a\\\\u0000b\\""}'),
        (None, "null"),
    ],
)
def test_what_is_stored(value: Any, text: str) -> None:
    assert encode(value) == text
    assert alike(decode(text), value)


def test_sql_may_add_and_remove_keys_beside_an_order() -> None:
    text = encode({"total": 1, "a": 2, "zz": 3})
    assert text == '{"total":1,"a":2,"zz":3,"$order":"total,a,zz"}'
    added = text.replace('"$order"', '"b":9,"$order"')
    assert list(decode(like_jsonb(added)).items()) == [("total", 1), ("a", 2), ("zz", 3), ("b", 9)]
    removed = text.replace('"a":2,', "")
    assert list(decode(like_jsonb(removed)).items()) == [("total", 1), ("zz", 3)]
    exchanged = removed.replace('"$order"', '"$$x":4,"$order"')
    assert list(decode(like_jsonb(exchanged)).items()) == [("total", 1), ("zz", 3), ("$x", 4)]
    assert decode('{"$order":"a,b"}') == {}
    assert decode('{"c":1,"$order":"b,a"}') == {"c": 1}
    listed = encode({"b,c": 1, "a": 2}).replace('"a":2', '"a":2,"z":3')
    assert list(decode(like_jsonb(listed)).items()) == [("b,c", 1), ("a", 2), ("z", 3)]


def test_text_that_looks_like_an_escape_is_not_tagged() -> None:
    assert encode("\\u0000") == json.dumps("\\u0000")
    assert decode(encode("costs \"$5\" and '$set'")) == "costs \"$5\" and '$set'"


def test_a_zone_becomes_its_offset_and_the_instant_stays() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for fold, hours in ((0, 2), (1, 1)):
        at = datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold)
        back = decode(encode(at))
        assert back.utcoffset() == timedelta(hours=hours)
        assert back.astimezone(UTC) == at.astimezone(UTC)


def test_a_naive_datetime_stays_naive_and_keeps_its_fold() -> None:
    back = decode(encode(datetime(2026, 10, 25, 2, 30, fold=1)))  # noqa: DTZ001
    assert (back.tzinfo, back.fold) == (None, 1)


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Other(Enum):
    THING = "thing"


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (Colour.RED, "red"),
        ({Colour.RED: Size.BIG}, {"red": 3}),
        ([Size.BIG], [3]),
        (mark_safe("<b>"), "<b>"),
        (gettext_lazy("Yes"), "Yes"),
        ({gettext_lazy("Yes"): gettext_lazy("No")}, {"Yes": "No"}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (Point(1, 2), (1, 2)),
        ({Point(1, 2)}, {(1, 2)}),
    ],
)
def test_relatives_come_back_as_what_they_extend(value: Any, back: Any) -> None:
    assert alike(decode(encode(value)), back)


@dataclass
class Row:
    total: int


class Model:
    """Looks like a model's instance."""

    _meta = object()
    pk = 1


@pytest.mark.parametrize(
    ("value", "path", "kind", "advice"),
    [
        ({"rows": [1, 2, 3, {"total": (x for x in [])}]}, "$.rows[3].total", "generator", "list("),
        ([Row(1)], "$[0]", "Row", "asdict"),
        ({"a b": Other.THING}, "$['a b']", "Other", ".value"),
        ({"m": Model()}, "$.m", "Model", "pk"),
        ((1, object()), "$[1]", "object", "plain values"),
        ({1: {2: 3j}}, "$[1][2]", "complex", "tuple"),
        ({"f": test_what_is_stored}, "$.f", "function", "returns"),
        ([range(3)], "$[0]", "range", "list("),
        ([{}.keys()], "$[0]", "dict_keys", "list("),
        (bytearray(b"x"), "$", "bytearray", "bytes("),
        ({frozenset({Other.THING})}, "${…}{…}", "Other", ".value"),
        ({Other.THING: 1}, "$[the key <Other.THING: 'thing'>]", "Other", ".value"),
        ([time(1, tzinfo=ZoneInfo("Europe/Berlin"))], "$[0]", "time", "datetime"),
    ],
)
def test_what_cannot_be_stored_is_named_with_its_place(value: Any, path: str, kind: str, advice: str) -> None:
    for write in (encode, encode_plain):
        if write is encode_plain and kind == "time":
            continue
        with pytest.raises(UnstorableValue) as caught:
            write(value)
        message = str(caught.value)
        assert f" at {path} is" in message
        assert kind in message
        assert advice in message
        assert isinstance(caught.value, KckFlowError | TypeError)


def test_a_value_that_contains_itself_is_refused_with_the_way_round() -> None:
    loop: dict[str, Any] = {"a": [1]}
    loop["a"].append(loop)
    for write in (encode, encode_plain):
        with pytest.raises(UnstorableValue, match=r"contains itself: \$\.a\[1\] is \$\."):
            write(loop)


def test_a_value_may_be_200_levels_deep_and_no_deeper() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for level in range(levels):
            value = ([value], (value,), {"b": value, "a": 1})[level % 3]
        return value

    assert alike(decode(like_jsonb(encode(nested(200)))), nested(200))
    encode_plain(nested(200))
    for write in (encode, encode_plain):
        with pytest.raises(UnstorableValue, match="more than 200 levels"):
            write(nested(201))


def test_an_int_that_python_will_not_write_out_is_stored_all_the_same() -> None:
    for value in (1 << 20_000, -(1 << 20_000), {"n": [1 << 20_000]}):
        assert decode(like_jsonb(encode(value))) == value
        like_jsonb(encode_plain(value))


def test_a_shared_part_is_not_a_cycle() -> None:
    part = {"a": [1]}
    assert decode(encode([part, part])) == [part, part]


def test_encoding_leaves_the_value_alone() -> None:
    value = {"a": [1, (2,)], "$b": {"x": {3}}}
    before = repr(value)
    encode(value)
    encode_plain(value)
    assert repr(value) == before


def test_an_unknown_tag_is_an_error_and_not_a_dict() -> None:
    with pytest.raises(ValueError, match=r"tag '\$later'"):
        decode('{"$later": 1}')


def test_equal_sets_give_equal_texts_in_every_process() -> None:
    script = (
        "from kck_flow.codec import encode;"
        "print(encode({frozenset({'a','b','c'}),frozenset({'d','e'}),('x',1),'y',2.5,None}))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


def test_plain_json_for_people() -> None:
    value = {
        "when": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "day": date(2026, 1, 31),
        "price": Decimal("1.10"),
        "tags": {"b", "a"},
        "sizes": {10, 9},
        "pair": (1, 2),
        "nan": math.nan,
        "took": timedelta(hours=25),
        "id": UUID(int=1),
        "raw": b"\xff",
        "odd": "a\0\ud800",
        "by": {1: "x", None: "y", date(2026, 1, 1): Colour.RED},
        "both": {1: "x", "1": "y"},
        "$x": [],
    }
    assert json.loads(encode_plain(value), object_pairs_hook=list) == [
        ("when", "2026-01-31T12:00:00+00:00"),
        ("day", "2026-01-31"),
        ("price", "1.10"),
        ("tags", ["a", "b"]),
        ("sizes", [9, 10]),
        ("pair", [1, 2]),
        ("nan", None),
        ("took", "P1DT01H00M00S"),
        ("id", "00000000-0000-0000-0000-000000000001"),
        ("raw", "/w=="),
        ("odd", "a\ufffd\ufffd"),
        ("by", [("1", "x"), ("null", "y"), ("2026-01-01", "red")]),
        ("both", [["1", "x"], ["1", "y"]]),
        ("$x", []),
    ]


def test_key_orders_are_forgotten_rather_than_kept_for_ever() -> None:
    from kck_flow import codec

    for number in range(3 * codec.SHAPES):
        encode({f"a{number}": 1, f"b{number}": 2})
        decode(encode({f"bb{number}": 1, f"a{number}": 2}))
    assert len(codec._shapes) <= codec.SHAPES
    assert len(codec._orders) <= codec.SHAPES


# --- codecs -------------------------------------------------------------------------------------------------


class Picky:
    """Refuses to be pickled."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no")


@override_settings(KCK_FLOW={"ALLOW_PICKLE": True})
def test_a_pickle_is_signed_and_survives() -> None:
    codec = SignedPickle()
    value = {"row": Row(3), "z": complex(1, 2)}
    text = codec.encode(value)
    assert codec.decode(like_jsonb(text)) == value
    assert codec.encode(value) == text, "no time stamp: equal values must give equal texts"
    with pytest.raises(UnstorableValue, match="pickled"):
        codec.encode(Picky())


@override_settings(KCK_FLOW={"ALLOW_PICKLE": True})
def test_a_pickle_with_a_wrong_signature_is_never_loaded() -> None:
    codec = SignedPickle()
    text = codec.encode([1])
    changed = text[:3] + random.choice([c for c in "ABCD" if c != text[3]]) + text[4:]
    for wrong in (changed, '"gASVBQAAAAAAAABdlEsBYS4="', '{"a": 1}'):
        with pytest.raises(signing.BadSignature):
            codec.decode(wrong)
    with override_settings(SECRET_KEY="another"), pytest.raises(signing.BadSignature):
        codec.decode(text)


@pytest.mark.parametrize("allowed", [{}, {"ALLOW_PICKLE": False}])
def test_pickle_is_off_unless_the_setting_says_otherwise(allowed: dict[str, bool]) -> None:
    with override_settings(KCK_FLOW={"ALLOW_PICKLE": True}):
        text = SignedPickle().encode([1])
    with override_settings(KCK_FLOW=allowed):
        with pytest.raises(ImproperlyConfigured, match="ALLOW_PICKLE"):
            SignedPickle().encode([1])
        with pytest.raises(ImproperlyConfigured, match="ALLOW_PICKLE"):
            SignedPickle().decode(text)


def test_codecs_are_found_by_name() -> None:
    assert codec_named("json") is JSON
    assert isinstance(codec_named("signed_pickle"), Codec)
    with pytest.raises(ValueError, match="'json'"):
        codec_named("yaml")
    with pytest.raises(ValueError, match="not a codec"):
        register_codec(object())  # type: ignore[arg-type]

    class Impostor:
        name = "json"

        def encode(self, value: Any, /) -> str:
            return ""

        def decode(self, text: str, /) -> Any:
            return None

    with pytest.raises(ValueError, match="Two codecs"):
        register_codec(Impostor())
