"""Ready-made topics: they come to what plain Python makes of the messages, however these arrive. Rows 194 to 196."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from kck_flow import Cache, IntegerParameter, Message
from kck_flow.errors import NotPrimed
from kck_flow.mistakes import problems
from kck_flow.models import DataProduct, Held
from kck_flow.registry import registry
from kck_flow.store.session import caller
from kck_flow.streams import topics as reading
from kck_flow.streams.log import send_many
from kck_flow.testing import freeze_time, registered
from primers import topics

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)
HOURS = [T0 + timedelta(hours=n) for n in range(4)]
CATEGORIES = ["build", "test", "ship", "re/view"]
USERS = ["ann", "bob", "çelik"]
PACKAGES = ["bash", "vim", "zsh", "git"]
STATES = ["waiting", "running", "done", "failed"]


def said(number: int, seed: int = 1) -> list[Message]:
    """Return messages of three hours, in the order in which they happened."""
    draw = random.Random(seed)
    messages = []
    for n in range(number):
        body: dict[str, Any] = {
            "category": draw.choice(CATEGORIES),
            "agent": {"name": draw.choice(USERS), "id": draw.randrange(5)},
            "packages": [{"name": name} for name in draw.choices(PACKAGES, k=draw.randrange(4))],
            "state": draw.choice(STATES),
            "cost": Decimal(draw.randrange(1000)) / 100,
        }
        if draw.random() < 0.05:
            del body["agent"]
        # Some of one instant: then the id says which is the latest.
        moment = T0 + timedelta(seconds=draw.randrange(3 * 60) * 60)
        messages.append(
            Message(
                f"ci.{draw.choice(['push', 'run'])}", body, f"m{draw.random()}-{n}", moment, body["category"]
            )
        )
    return sorted(messages, key=lambda message: (message.at, message.id))


def arrive(messages: Sequence[Message], seed: int = 2) -> None:
    """Send messages in no order, each twice, some long after the others, and have them handled now and then."""
    draw = random.Random(seed)
    late = [message for message in messages if draw.random() < 0.2]
    early = [message for message in messages if message not in late]
    for part in (early + early, late + late + early[:20]):
        draw.shuffle(part)
        while part:
            some = draw.randrange(1, 40)
            send_many(part[:some])
            part = part[some:]
            if draw.random() < 0.5:
                reading.drain()
    reading.drain()


@pytest.fixture
def declare() -> Iterator[Callable[..., Any]]:
    classes: list[Any] = []

    def make(base: Any, key_base: str, **attributes: Any) -> Any:
        made = type(
            key_base,
            (base,),
            {"key_base": key_base, "topics": ["ci.*"], "__module__": __name__, **attributes},
        )
        classes.append(made)
        primer = registry.register(made)
        assert primer is not None, registry.broken[-1].text
        assert list(problems(made)) == []
        reading.drain([key_base])  # it begins
        return primer

    yield make
    for one in classes:
        registry.withdraw(one)


def agent(message: Message) -> Any:
    return message.body.get("agent", {}).get("name")


# -- counts ----------------------------------------------------------------------------------------------------


def test_four_dimensions_are_counted_by_the_hour_row_194(declare: Any) -> None:
    cache = Cache.get_instance()
    dimensions: dict[str, tuple[Any, Callable[[Message], list[Any]]]] = {
        "said_by_category": ("category", lambda m: [m.body["category"]]),
        "said_by_topic": (lambda m: m.topic, lambda m: [m.topic]),
        "said_by_user": ("agent.name", lambda m: [agent(m)] if agent(m) else []),
        "said_by_package": ("packages.name", lambda m: sorted({one["name"] for one in m.body["packages"]})),
    }
    for key_base, (by, _) in dimensions.items():
        declare(topics.CountBy, key_base, by=by, window="hour")
        declare(topics.CountBy, f"{key_base}_together", by=by, windows=["1h", "1d"], parameters=[], tz="UTC")
    messages = said(400)
    arrive(messages)
    for key_base, (_, values) in dimensions.items():
        whole: Counter[Any] = Counter()
        for hour in HOURS:
            own = Counter(
                value for m in messages if hour <= m.at < hour + timedelta(hours=1) for value in values(m)
            )
            whole += own
            for value in {v for m in messages for v in values(m)}:
                assert cache.get(cache.build_key(key_base, value=value, window=hour)) == own[value]
            assert cache.get(f"{key_base}_together/1h/{hour:%Y-%m-%dT%H}") == dict(own)
        assert whole.total() > 0
        assert cache.get(f"{key_base}_together/1d/2026-03-01") == dict(whole)
    series = cache.series(cache.build_key("said_by_category", value="re/view"), HOURS[0], HOURS[3])
    assert [point.value for point in series] == [
        sum(m.body["category"] == "re/view" for m in messages if point.start <= m.at < point.end)
        for point in series
    ]
    assert not Held.objects.exists()


def test_what_messages_add_up_to_is_summed_exactly(declare: Any) -> None:
    cache = Cache.get_instance()
    declare(topics.SumBy, "cost_by_category", by="category", of="cost")
    declare(topics.SumBy, "cost_together", by="packages.name", of=lambda m: m.body["cost"] * 2, parameters=[])
    declare(topics.CountBy, "said_by_agent", by="agent.id", parameters=[IntegerParameter("agent")])
    messages = said(300, seed=5)
    arrive(messages)
    by_package: dict[str, Decimal] = defaultdict(Decimal)
    for message in messages:
        for name in {one["name"] for one in message.body["packages"]}:
            by_package[name] += message.body["cost"] * 2
    for category in CATEGORIES:
        assert cache.get(cache.build_key("cost_by_category", value=category)) == sum(
            m.body["cost"] for m in messages if m.body["category"] == category
        )
    assert cache.get("cost_together") == by_package
    for number in range(5):
        assert cache.get(f"said_by_agent/{number}") == sum(
            m.body.get("agent", {}).get("id") == number for m in messages
        )


def test_values_of_any_kind_are_told_apart_and_what_is_none_is_parked(declare: Any) -> None:
    cache = Cache.get_instance()
    declare(topics.CountBy, "said_by_any", by="v", retries=0)
    declare(topics.SumBy, "sum_of_any", by=lambda m: "all", of="v", retries=0)
    values = [True, False, 7, 1.5, "7", "", None, [], [1, "1", None, 2], date(2026, 3, 1), {"a": 1}, [[3, 4]]]
    send_many([Message("ci.any", {"v": value}, f"m{n}", T0) for n, value in enumerate(values)])
    send_many(
        [
            Message("ci.any", body, f"b{n}", T0)
            for n, body in enumerate([None, 3, [], "v", [{"v": "of a list"}]])
        ]
    )
    reading.drain()
    counts = {"true": 1, "false": 1, "7": 2, "1.5": 1, "": 1, "1": 1, "2": 1, "2026-03-01": 1, "3": 1, "4": 1}
    for text, count in {**counts, "of a list": 1, "nothing": 0}.items():
        assert cache.get(cache.build_key("said_by_any", value=text)) == count, text
    held = Held.objects.get(key_base="said_by_any")
    assert (
        held.error
        == "ValueError: {'a': 1} is no single value: messages are told apart by texts, numbers and dates."
    )
    assert cache.get("sum_of_any/all") == 7 + 1.5 + 3 + 4
    wrong = Held.objects.filter(key_base="sum_of_any").values_list("error", flat=True)
    assert "ValueError: True is no number to be added up by 'sum_of_any'." in wrong


# -- the latest ------------------------------------------------------------------------------------------------


def latest(messages: Sequence[Message]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for message in sorted(messages, key=lambda m: (m.at, m.id)):
        for one in message.body["packages"]:
            told = {"status": message.body["state"], "at": message.at, "id": message.id}
            found.setdefault(message.body["category"], {})[one["name"]] = told
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_latest_status_of_a_pair_never_goes_back_row_195(declare: Any, seed: int) -> None:
    cache = Cache.get_instance()
    where = {"constraint": "packages.name", "status": "state"}
    declare(topics.LatestStatus, "status_of", **where)
    declare(topics.LatestStatus, "status_board", **where, parameters=[], batch=7)
    messages = said(250, seed=seed)
    send_many(messages[-30:])
    reading.drain()
    before = cache.get("status_board")
    arrive(messages, seed=seed)
    board = cache.get("status_board")
    assert board == latest(messages)
    for category, pairs in before.items():
        for package, told in pairs.items():
            assert (board[category][package]["at"], board[category][package]["id"]) >= (
                told["at"],
                told["id"],
            )
    for category in CATEGORIES:
        assert cache.get(cache.build_key("status_of", category=category)) == board[category]
    assert cache.get("status_of/nothing") == {}
    assert not Held.objects.exists()


def test_of_one_instant_the_greatest_id_is_the_latest_and_what_lacks_a_part_says_nothing(
    declare: Any,
) -> None:
    cache = Cache.get_instance()
    declare(topics.LatestStatus, "status_of", retries=0)
    for number, (name, status) in enumerate(
        [("b", "second"), ("a", "first"), ("c", "third"), ("b2", "between")]
    ):
        send_many(
            [
                Message(
                    "ci.x",
                    {"category": "k", "constraint": None if number > 9 else 1, "status": status},
                    name,
                    T0,
                )
            ]
        )
        reading.drain()
    assert cache.get("status_of/k") == {"1": {"status": "third", "at": T0, "id": "c"}}
    later = T0 + timedelta(hours=1)
    for body in (
        {"category": "k", "constraint": 1},
        {"category": "k", "status": "x"},
        {"constraint": 1, "status": "x"},
        5,
    ):
        send_many([Message("ci.x", body, json.dumps(body), later)])
    send_many([Message("ci.x", {"category": "k", "constraint": 1, "status": ["x", "y"]}, "two", later)])
    reading.drain()
    assert cache.get("status_of/k")["1"]["status"] == "third"
    assert "more than one status" in Held.objects.get().error


# -- what was said ---------------------------------------------------------------------------------------------


def test_what_was_said_is_read_in_its_order_and_pruned_when_it_is_old_row_196(declare: Any) -> None:
    cache = Cache.get_instance()
    log = declare(topics.EventLog, "said_lately", tz="Europe/Berlin", retention=timedelta(days=5), batch=40)
    by_hour = declare(topics.EventLog, "said_by_hour", window="5m", retention=None)
    draw = random.Random(3)
    now = timezone.now()
    messages = [
        Message("ci.x", {"n": n}, f"m{n}", now - timedelta(minutes=draw.randrange(8 * 24 * 60)))
        for n in range(300)
    ]
    oracle = [
        {"at": m.at, "id": m.id, "topic": m.topic, "body": m.body}
        for m in sorted(messages, key=lambda m: (m.at, m.id))
    ]
    zone = log.sizes[""]
    oldest = zone.start_of(now - timedelta(days=5))  # days end where Berlin's do
    arrive(messages)
    assert list(log.last(days=5)) == [one for one in oracle if one["at"] >= now - timedelta(days=5)]
    assert [
        one for one in by_hour.events(now - timedelta(days=9), now + timedelta(1)) if one["at"] <= now
    ] == oracle
    start, end = now - timedelta(days=3, hours=5), now - timedelta(days=1)
    between = [one for one in oracle if start <= one["at"] < end]
    assert list(log.events(start, end)) == between
    assert list(by_hour.events(start, end)) == between
    # What had ended before it came is kept no more; what ends now is pruned later.
    assert list(log.events(now - timedelta(days=9), now)) == [
        one for one in oracle if oldest <= one["at"] < now
    ]
    later = now + timedelta(days=2)
    with freeze_time(later):
        kept = zone.start_of(later - timedelta(days=5))
        old = [key for key in DataProduct.objects.filter(key_base="said_lately").values_list("key", flat=True)
               if log.bounds(log.parse_key(key))[1] <= later - timedelta(days=5)]  # fmt: skip
        assert old
        assert pruned("--dry-run") == {"said_lately": (len(old), 0)}
        assert list(log.events(kept - timedelta(days=2), kept)) != []
        assert pruned() == {"said_lately": (len(old), len(old))}
        assert pruned() == {"said_lately": (0, 0)}
        assert not DataProduct.objects.filter(key__in=old).exists()
        assert list(log.events(kept - timedelta(days=9), kept)) == []
        assert list(log.events(kept, now)) == [one for one in oracle if kept <= one["at"] < now]
        with pytest.raises(NotPrimed, match="longer ago than 'said_lately' keeps windows"):
            cache.get(old[0])
        points = cache.series("said_lately", kept - timedelta(days=1), kept)
        assert [(point.value, point.complete) for point in points] == [(None, False)]
        # One that comes for a window that is gone does not make it again, and is no failure.
        send_many(
            [Message("ci.x", {}, "late", kept - timedelta(hours=1)), Message("ci.x", {}, "in time", kept)]
        )
        reading.drain()
        assert list(log.events(kept - timedelta(days=9), kept)) == []
        assert next(log.events(kept, now))["id"] == "in time"
        assert next(by_hour.events(kept - timedelta(hours=1), now))["id"] == "late"
    assert not Held.objects.exists()


def test_a_window_that_is_pruned_in_batches_leaves_those_that_somebody_writes(declare: Any) -> None:
    from kck_flow.store import leftovers

    topic = declare(
        topics.CountBy, "said_by_minute", by=lambda m: "x", window="1m", retention=timedelta(days=1)
    )
    now = timezone.now()
    send_many([Message("ci.x", {}, f"m{n}", now - timedelta(minutes=n)) for n in range(1200)])
    reading.drain()
    with freeze_time(now + timedelta(days=2)):
        digests = [key.digest for key in reading.outlived(topic)]
        assert len(digests) == 1200
        assert list(leftovers.prune_windows(caller("default"), digests)) == [500, 500, 200]
        assert reading.outlived(topic) == []


def pruned(*options: str) -> dict[str, tuple[int, int]]:
    """Return what ``kck prune`` says of windows: (found, deleted) of each topic."""
    out = StringIO()
    call_command("kck", "prune", *options, "--format", "json", stdout=out, stderr=StringIO())
    rows = json.loads(out.getvalue())
    return {row["product"]: (row["rows"], row["deleted"]) for row in rows if row["what"] == "windows"}


def test_only_part_of_a_body_is_kept_and_a_log_may_have_parameters(declare: Any) -> None:
    class Short(topics.EventLog):
        def kept(self, message: Message) -> Any:
            return message.body["state"]

    log = declare(Short, "said_of", parameters=[topics.StringParameter("category")], retention=None)
    messages = said(60)
    arrive(messages)
    for category in CATEGORIES:
        found = [one["body"] for one in log.events(HOURS[0], HOURS[3], category=category)]
        assert found == [m.body["state"] for m in messages if m.body["category"] == category]


# -- declarations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "attributes", "told"),
    [
        (topics.CountBy, {}, "by says where it stands in a message"),
        (topics.SumBy, {"by": "a"}, "of says where it stands in a message"),
        (topics.LatestStatus, {"status": 7}, "status says where it stands in a message"),
        (
            topics.CountBy,
            {"by": "a", "parameters": [IntegerParameter("a"), IntegerParameter("b")]},
            "parameters are one",
        ),
    ],
)
def test_a_wrong_declaration_is_named(base: Any, attributes: dict[str, Any], told: str) -> None:
    made = type("Wrong", (base,), {"key_base": "said_wrongly", "__module__": __name__, **attributes})
    broken = len(registry.broken)
    assert registry.register(made) is None
    try:
        assert told in registry.broken[-1].text
    finally:
        del registry.broken[broken:]


def test_a_version_is_refused_since_nothing_would_make_the_older_values_again() -> None:
    made = type("Versioned", (topics.CountBy,), {"key_base": "said_twice", "by": "a", "version": 2})
    assert [what for what, _ in made.problems()] == [  # type: ignore[attr-defined]
        "a topic has no use for version: what its handler made of messages is not made again by itself"
    ]


def test_importing_them_declares_nothing() -> None:
    assert not [one for one in registry.classes if one.__module__ == "primers.topics"]
    with registered(type("Said", (topics.EventLog,), {"key_base": "said_here"})):
        assert "said_here" in registry.primers
