"""Products and actions whose hour comes: intervals, domains, calendars, missed periods, overlaps, failures.

The clock stands still and is moved by the test; what a worker would do is done there and then.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dateutil.rrule import DAILY, rrule

from kck_flow import Cache, IntegerParameter, Primer, cron, every, scheduled
from kck_flow.errors import ComputeFailed, DeclarationError, InvalidKey
from kck_flow.models import DataProduct, Family, Refresh, Run
from kck_flow.refresh import plan, run
from kck_flow.registry import registry
from kck_flow.store import refreshes
from kck_flow.store.session import caller
from kck_flow.testing import Clock, assert_computes, count_computes, freeze_time, registered, run_worker
from tests.core.conftest import Gate, Thread
from tests.shop.models import Customer

cache = Cache.get_instance()
START = datetime(2025, 3, 3, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with freeze_time(START) as frozen:
        yield frozen


@pytest.fixture
def actions() -> Iterator[None]:
    """Scheduled functions of one test, forgotten at its end."""
    before = list(registry.classes)
    yield
    for declared in [one for one in registry.classes if one not in before]:
        registry.withdraw(declared)


def at(*minutes: float) -> list[datetime]:
    return [START + MINUTE * n for n in minutes]


def periods(key_base: str) -> list[datetime]:
    """Which instants of their schedule the runs of a family served, in the order in which they ran."""
    runs = Run.objects.filter(key_base=key_base).order_by("id")
    return [nominal.astimezone(UTC) for nominal in runs.values_list("nominal", flat=True) if nominal]


def slot(key: str) -> dict[str, Any]:
    found = cache.explain(key)["slot"]
    assert found is not None
    return dict(found)


class Tick(Primer):
    """Every minute, how often."""

    key_base = "tick"
    schedule = every(minutes=1)
    calls = 0

    def compute(self, key: Any) -> Any:
        type(self).calls += 1
        return type(self).calls


@pytest.fixture
def tick() -> Iterator[Primer]:
    Tick.calls = 0
    with registered(Tick) as (primer,):
        yield primer


# -- every ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_product_is_computed_at_each_instant_of_its_schedule_and_not_before(
    clock: Clock, tick: Primer
) -> None:
    assert run_worker().keys == []
    clock.move(seconds=59)
    assert run_worker().keys == []
    clock.move(seconds=1)
    assert run_worker().keys == ["tick"]
    assert run_worker().keys == []
    # Being late does not move what follows.
    clock.move(seconds=89)
    assert run_worker().keys == ["tick"]
    clock.set(START + 3 * MINUTE)
    assert run_worker().keys == ["tick"]
    assert periods("tick") == at(1, 2, 3)
    assert cache.explain("tick")["next"][:2] == at(4, 5)


@pytest.mark.django_db
def test_an_interval_after_the_end_is_counted_from_the_end(clock: Clock) -> None:
    class Slow(Primer):
        key_base = "after_end"
        schedule = every(minutes=10, anchor="finish")

        def compute(self, key: Any) -> Any:
            clock.move(minutes=3)
            return 1

    with registered(Slow):
        run_worker()
        clock.move(minutes=10)
        assert run_worker().keys == ["after_end"]
        assert clock() == START + 13 * MINUTE
        assert slot("after_end")["due_at"] == START + 23 * MINUTE


@pytest.mark.django_db
def test_an_rrule_and_a_timedelta_are_schedules_too(clock: Clock) -> None:
    class Rule(Primer):
        key_base = "by_rule"
        schedule = rrule(DAILY, dtstart=datetime(2025, 1, 1, 11, 0, tzinfo=UTC))

        def compute(self, key: Any) -> Any:
            return 1

    class Delta(Rule):
        key_base = "by_delta"
        schedule = timedelta(minutes=30)

    with registered(Rule, Delta):
        run_worker()
        clock.move(minutes=30)
        assert run_worker().keys == ["by_delta"]
        clock.move(minutes=30)
        assert sorted(run_worker().keys) == ["by_delta", "by_rule"]


class Fifty(Primer):
    """Fifty products, each every minute."""

    key_base = "fifty"
    parameters = [IntegerParameter("n")]
    schedule = every(seconds=60)
    domain = range(50)

    def compute(self, key: Any) -> Any:
        return key.params["n"]


@pytest.mark.django_db(transaction=True)
def test_two_workers_compute_each_of_fifty_products_once_a_period(
    clock: Clock, threads: Callable[..., Thread]
) -> None:
    with registered(Fifty), count_computes("fifty") as computes:
        run_worker()
        assert computes.total == 0
        for minute in range(1, 6):
            clock.move(minutes=1)
            for worker in [threads(run_worker), threads(run_worker)]:
                worker.result(60)
            assert computes.total == 50 * minute
        assert set(computes.counts.values()) == {5}
    served = Counter(Run.objects.filter(key_base="fifty").values_list("key", "nominal"))
    assert (len(served), set(served.values())) == (250, {1})


# -- domains -------------------------------------------------------------------------------------------------


class Wanted(Primer):
    """Which customers are kept warm: a product itself."""

    key_base = "wanted"

    def compute(self, key: Any) -> Any:
        return list(Customer.objects.order_by("pk").values_list("pk", flat=True))


class Warm(Primer):
    key_base = "warm"
    parameters = [IntegerParameter("customer")]
    schedule = every(minutes=10)
    domain = "wanted"

    def compute(self, key: Any) -> Any:
        return Customer.objects.get(pk=key.params["customer"]).name


class WarmByMethod(Warm):
    key_base = "warm_too"

    def domain(self) -> Any:
        return [{"customer": pk} for pk in cache.get("wanted")]


@pytest.mark.django_db
@pytest.mark.parametrize("declared", [Warm, WarmByMethod])
def test_a_domain_that_is_a_product_itself_grows_and_shrinks(clock: Clock, declared: type[Primer]) -> None:
    base = declared.key_base
    ada, bob = (Customer.objects.create(name=name) for name in ("Ada", "Bob"))
    with registered(Wanted, declared):
        run_worker()
        clock.move(minutes=10)
        assert sorted(run_worker([base]).keys) == [f"{base}/{ada.pk}", f"{base}/{bob.pk}"]
        # One more, one less: within one interval the new one is computed, and the old one no more.
        joan = Customer.objects.create(name="Joan")
        bob_pk = bob.pk
        bob.delete()
        cache.refresh("wanted")
        for _ in range(2):
            clock.move(minutes=10)
            assert sorted(run_worker([base]).keys) == [f"{base}/{ada.pk}", f"{base}/{joan.pk}"]
        # What left is not computed by the clock, but it is not forgotten.
        assert cache.get(f"{base}/{bob_pk}") == "Bob"
        assert slot(f"{base}/{bob_pk}")["due_at"] is None


@pytest.mark.django_db
def test_a_domain_lists_keys_parameters_or_values_and_each_counts_once(clock: Clock) -> None:
    class Mixed(Primer):
        key_base = "mixed"
        parameters = [IntegerParameter("n")]
        schedule = every(minutes=1)
        domain = ["mixed/1", {"n": 2}, 3, 3, "4", (1,)]

        def compute(self, key: Any) -> Any:
            return 0

    with registered(Mixed):
        run_worker()
        clock.move(minutes=1)
        assert sorted(run_worker().keys) == ["mixed/1", "mixed/2", "mixed/3", "mixed/4"]


@pytest.mark.django_db
def test_a_domain_that_holds_a_key_of_another_family_is_refused(clock: Clock, tick: Primer) -> None:
    class Stray(Primer):
        key_base = "stray"
        parameters = [IntegerParameter("n")]
        schedule = every(minutes=1)

        def domain(self) -> Any:
            return [1, registry.key("tick")]

        def compute(self, key: Any) -> Any:
            return 0

    with registered(Stray) as (primer,):
        with pytest.raises(InvalidKey, match="'stray'"):
            primer.domain_keys()
        run_worker()
        planned = slot("tick")["nominal"]
        assert "InvalidKey" in Run.objects.get(key__contains="stray").error
        clock.move(minutes=1)
        assert run_worker(["tick"]).keys == ["tick"], "which keeps its own schedule"
        assert periods("tick") == [planned]


@pytest.mark.django_db
def test_a_domain_that_raises_stops_nobody_and_is_tried_again(clock: Clock, tick: Primer) -> None:
    class Shaky(Primer):
        key_base = "shaky"
        parameters = [IntegerParameter("n")]
        schedule = every(minutes=1)
        backoff = timedelta(seconds=10)
        broken = True

        def domain(self) -> Any:
            if type(self).broken:
                raise OSError("no answer")
            return [1]

        def compute(self, key: Any) -> Any:
            return 0

    with registered(Shaky):
        run_worker()
        assert "no answer" in Run.objects.get(key__contains="shaky").error
        Shaky.broken = False
        clock.move(seconds=15)
        run_worker()
        clock.move(seconds=45)
        assert sorted(run_worker().keys) == ["shaky/1", "tick"]


# -- calendars -----------------------------------------------------------------------------------------------


@pytest.mark.once("newest")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("day", "instants"),
    [
        # The clock skips from 2:00 to 3:00: at the instant the gap ends.
        (datetime(2025, 3, 30), ["2025-03-29T01:30", "2025-03-30T01:00", "2025-03-31T00:30"]),  # noqa: DTZ001
        # The clock repeats 2:00 to 3:00: the first of the two.
        (datetime(2025, 10, 26), ["2025-10-25T00:30", "2025-10-26T00:30", "2025-10-27T01:30"]),  # noqa: DTZ001
    ],
)
def test_half_past_two_in_berlin_comes_once_on_the_days_the_clocks_change(
    day: datetime, instants: list[str]
) -> None:
    class Daily(Primer):
        key_base = "daily"
        schedule = cron("30 2 * * *", tz="Europe/Berlin")

        def compute(self, key: Any) -> Any:
            return 1

    with registered(Daily), freeze_time((day - timedelta(days=1)).replace(tzinfo=UTC)) as clock:
        ran = []
        for _ in range(4 * 24 * 3):
            if run_worker().keys:
                ran.append(clock().strftime("%Y-%m-%dT%H:%M"))
            clock.move(minutes=15)
    assert ran == instants


# -- spread --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_jitter_spreads_the_soft_expiry_of_products_stored_at_one_instant(clock: Clock) -> None:
    class Spread(Primer):
        key_base = "spread"
        parameters = [IntegerParameter("n")]
        soft_expire = timedelta(minutes=100)
        hard_expire = timedelta(minutes=200)
        jitter = 0.1

        def compute(self, key: Any) -> Any:
            return 1

    class Even(Spread):
        key_base = "even"
        jitter = 0.0

    with registered(Spread, Even):
        for base in ("spread", "even"):
            for n in range(1000):
                cache.set(f"{base}/{n}", n)
        soft = [
            (one - START) / MINUTE
            for one in DataProduct.objects.filter(key_base="spread").values_list("soft_expires_at", flat=True)
        ]
        # Never later than promised, not all at once: each of ten minutes has its share.
        assert 90 <= min(soft) < 90.5
        assert 99.5 < max(soft) <= 100
        shares = Counter(int(minute) for minute in soft)
        assert len(shares) == 10
        assert all(50 < share < 170 for share in shares.values()), shares
        hard = set(DataProduct.objects.values_list("hard_expires_at", flat=True))
        assert hard == {START + 200 * MINUTE}
        even = set(DataProduct.objects.filter(key_base="even").values_list("soft_expires_at", flat=True))
        assert even == {START + 100 * MINUTE}


@pytest.mark.django_db
def test_the_jitter_of_a_schedule_gives_each_product_a_place_of_its_own_and_keeps_it(clock: Clock) -> None:
    class Spread(Primer):
        key_base = "places"
        parameters = [IntegerParameter("n")]
        schedule = every(minutes=100, jitter=0.1)
        domain = range(40)

        def compute(self, key: Any) -> Any:
            return 1

    def places() -> dict[str, float]:
        found = Refresh.objects.filter(key_base="places").values_list("key", "due_at", "nominal")
        return {key: (due - nominal) / MINUTE for key, due, nominal in found}

    with registered(Spread):
        run_worker()
        first = places()
        assert len(set(first.values())) == 40
        assert min(first.values()) >= 0
        assert max(first.values()) < 10
        clock.set(Refresh.objects.filter(key="places/1").get().nominal)
        due_now = len(run_worker())
        assert due_now < 10
        clock.move(minutes=10)
        assert due_now + len(run_worker()) == 40
        assert places() == first


# -- missed periods ------------------------------------------------------------------------------------------


def missing(catchup: str) -> type[Primer]:
    return type(f"Missing{catchup}", (Tick,), {"key_base": f"missing_{catchup}", "catchup": catchup})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("catchup", "served"),
    [("coalesce", at(1, 2, 13)), ("all", at(*range(1, 14))), ("skip", at(1, 13))],
)
def test_ten_periods_missed_are_run_once_or_all_or_not_at_all(
    clock: Clock, catchup: str, served: list[datetime]
) -> None:
    with registered(missing(catchup)) as (primer,):
        run_worker()
        clock.move(minutes=1)
        run_worker()
        # Nobody worked for eleven minutes: ten periods are over, and the eleventh has begun a moment ago.
        clock.move(minutes=11, seconds=5)
        run_worker()
        clock.set(START + 13 * MINUTE)
        run_worker()
        assert periods(primer.name) == served
        assert slot(primer.name)["due_at"] == START + 14 * MINUTE


@pytest.mark.django_db
def test_a_period_that_is_late_but_not_over_is_not_skipped(clock: Clock) -> None:
    with registered(missing("skip")) as (primer,):
        run_worker()
        clock.move(minutes=1, seconds=59)
        run_worker()
        assert periods(primer.name) == at(1)


@pytest.mark.django_db
def test_what_was_once_asked_for_by_hand_is_refreshed_by_its_schedule_again(clock: Clock) -> None:
    with registered(missing("skip")) as (primer,):
        run_worker()
        cache.refresh(primer.name)
        assert slot(primer.name)["reason"] == "schedule", "what is due next"
        clock.move(minutes=1)
        run_worker()
        reasons = Run.objects.filter(key=primer.name).order_by("id").values_list("reason", flat=True)
        assert list(reasons) == ["manual", "schedule"]
        clock.move(minutes=11, seconds=5)
        run_worker()
        assert periods(primer.name)[-1:] == at(1), "and skips, as it declares"


# -- actions -------------------------------------------------------------------------------------------------


@pytest.mark.once("oldest")
@pytest.mark.django_db(transaction=True)
def test_an_action_runs_once_a_period_however_many_schedulers_there_are(clock: Clock, actions: None) -> None:
    ran: list[datetime] = []

    @scheduled(every(minutes=1), name="act_once")
    def act_once() -> None:
        ran.append(clock())

    run_worker()
    number, rounds = 5, 100
    barrier = threading.Barrier(number)

    def schedule() -> None:
        for minute in range(1, rounds + 1):
            if barrier.wait(60) == 0:
                clock.set(START + minute * MINUTE)
            barrier.wait(60)
            run_worker(["act_once"])

    workers = [Thread(schedule) for _ in range(number)]
    for worker in workers:
        worker.result(180)
    assert ran == at(*range(1, rounds + 1))
    assert periods("act_once") == ran


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("overlap", "served"),
    [("skip", at(1, 4, 5)), ("queue", at(1, 2, 3, 4, 5)), ("parallel", at(1, 2, 3, 4, 5))],
)
def test_periods_that_come_while_an_action_runs_are_left_out_or_run_after_it(
    clock: Clock, actions: None, overlap: Any, served: list[datetime]
) -> None:
    calls: list[datetime] = []

    @scheduled(every(minutes=1), name=f"long_{overlap}", overlap=overlap)
    def long() -> None:
        calls.append(clock())
        if len(calls) == 1:
            clock.move(minutes=2, seconds=30)

    run_worker()
    clock.move(minutes=1)
    run_worker()
    for minute in (4, 5):
        clock.set(START + minute * MINUTE)
        run_worker()
    assert len(calls) == len(served)
    if overlap != "parallel":
        assert periods(f"long_{overlap}") == served
    else:
        keys = Run.objects.filter(key_base="long_parallel", outcome="done").values_list("key", flat=True)
        assert sorted(registry.key(key).params["period"] for key in keys) == served


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("overlap", ["skip", "queue", "parallel"])
def test_two_periods_of_an_action_run_beside_one_another_only_where_it_says_so(
    clock: Clock, actions: None, overlap: Any, gate: Gate, threads: Callable[..., Thread]
) -> None:
    inside: list[datetime] = []

    @scheduled(every(seconds=2), name=f"beside_{overlap}", overlap=overlap)
    def beside() -> None:
        inside.append(clock())
        if len(inside) == 1:
            gate.stop()

    run_worker()
    clock.move(seconds=2)
    first = threads(run_worker)
    gate.reached()
    clock.move(seconds=2)  # the next period; the lease of the one that runs is longer
    run_worker()
    assert len(inside) == (2 if overlap == "parallel" else 1)
    gate.open()
    first.result()


@pytest.mark.django_db
def test_an_action_tells_what_it_did_and_keeps_its_function_as_it_was(clock: Clock, actions: None) -> None:
    @scheduled(cron("*/5 * * * *"), retries=1)
    def sweep() -> dict[str, int]:
        """Sweep the shop."""
        return {"swept": 3}

    assert sweep() == {"swept": 3}
    name = sweep.action
    assert name.endswith("test_an_action_tells_what_it_did_and_keeps_its_function_as_it_was.sweep")
    primer = registry.primer(name)
    assert (primer.text, primer.retries) == ("Sweep the shop", 1)
    assert primer.where().startswith(__file__)
    run_worker()
    clock.move(minutes=5)
    assert run_worker().keys == [name]
    assert DataProduct.objects.get(key=name).value == {"swept": 3}
    assert cache.explain(name)["last_run"]["outcome"] == "done"


def test_an_action_declared_wrongly_is_refused_at_once(actions: None) -> None:
    with pytest.raises(DeclarationError, match="overlap must be 'skip', 'queue' or 'parallel', not 'twice'"):
        scheduled(every(minutes=1), overlap="twice")  # type: ignore[arg-type]
    with pytest.raises((DeclarationError, ValueError, TypeError)):
        scheduled("every five minutes")


# -- begin, pause, go on -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_autostart_off_begins_paused_until_it_is_resumed_for_good(clock: Clock) -> None:
    class Later(Tick):
        key_base = "later"
        autostart = False

    with registered(Later):
        for _ in range(3):
            run_worker()
            clock.move(minutes=1)
        assert run_worker().keys == []
        assert Family.objects.get(key_base="later").note == "autostart is off"
        # Asked for, it is computed all the same.
        with assert_computes(1, "later"):
            cache.get("later")
        assert cache.resume("later")
        clock.move(minutes=1)
        assert run_worker().keys == ["later"]
        # The next start of a process does not pause it again.
        for _ in range(10):
            run_worker()
        clock.move(minutes=1)
        assert run_worker().keys == ["later"]
        assert Refresh.objects.filter(key_base="later").count() == 1


@pytest.mark.django_db
def test_a_paused_product_is_not_computed_by_the_clock_and_goes_on_when_resumed(
    clock: Clock, tick: Primer
) -> None:
    run_worker()
    clock.move(minutes=1)
    assert run_worker().keys == ["tick"]
    cache.pause("tick", note="too loud")
    assert cache.explain("tick")["paused"]["note"] == "too loud"
    for _ in range(5):
        clock.move(minutes=1)
        assert run_worker().keys == []
    assert cache.refresh("tick").value == 2
    assert cache.resume("tick")
    assert not cache.resume("tick")
    clock.move(minutes=1)
    assert run_worker().keys == ["tick"]
    clock.move(minutes=1)
    assert run_worker().keys == ["tick"]


# -- failures ------------------------------------------------------------------------------------------------


class Failing(Primer):
    """Fails until it is told not to."""

    key_base = "failing"
    parameters = [IntegerParameter("n", default=0)]
    backoff = timedelta(seconds=10)
    backoff_cap = timedelta(seconds=30)
    retries = 3
    park_after = 8
    fails = True

    def compute(self, key: Any) -> Any:
        if type(self).fails:
            raise OSError(f"no answer for {key}")
        return "fine"


@pytest.fixture
def failing() -> type[Failing]:
    Failing.fails = True
    return Failing


@pytest.mark.django_db
def test_a_failure_is_tried_again_after_a_growing_pause_and_then_set_aside(
    clock: Clock, failing: type[Failing]
) -> None:
    with registered(failing):
        cache.request_refresh("failing/0")
        pauses = []
        for attempt in range(1, 5):
            assert run_worker().failed == ["failing/0"]
            found = slot("failing/0")
            assert found["attempts"] == attempt
            assert "no answer" in found["last_error"]
            pauses.append((found["retry_at"] - clock()).total_seconds())
            assert run_worker().keys == []  # not before the pause is over
            clock.set(found["retry_at"])
        # Doubled each time up to the cap, half of it either way at random.
        for pause, base in zip(pauses, (10, 20, 30, 30), strict=True):
            assert base / 2 <= pause <= base * 1.5
        assert (found["parked_why"], found["due_at"]) == ("failed", None)
        clock.move(days=1)
        assert run_worker().keys == []

        # Revived it begins anew, and a success forgets what was.
        failing.fails = False
        assert refreshes.retry(caller("default"), digest=registry.key("failing/0").digest) == ["failing/0"]
        assert run_worker().outcomes == ["done"]
        found = slot("failing/0")
        assert (found["attempts"], found["retry_at"], found["parked_at"]) == (0, None, None)
        assert cache.get("failing/0") == "fine"


@pytest.mark.django_db
def test_within_the_pause_readers_get_the_cause_and_nobody_computes(
    clock: Clock, failing: type[Failing]
) -> None:
    with registered(failing):
        with assert_computes(1, "failing"):
            for _ in range(5):
                with pytest.raises(ComputeFailed, match="no answer for failing/0"):
                    cache.get("failing/0")
        clock.move(seconds=16)
        failing.fails = False
        assert cache.get("failing/0") == "fine"


@pytest.mark.django_db
def test_a_scheduled_failure_is_retried_within_its_period_and_comes_again_with_the_next(
    clock: Clock, failing: type[Failing]
) -> None:
    class Hourly(failing):  # type: ignore[valid-type,misc]
        key_base = "failing_hourly"
        parameters = ()
        schedule = every(hours=1)
        retries = 1

    with registered(Hourly):
        run_worker()
        for hour in (1, 2, 3, 4):
            clock.set(START + timedelta(hours=hour))
            assert run_worker().failed == ["failing_hourly"]
            clock.move(seconds=45)
            assert run_worker().failed == ["failing_hourly"]  # its one retry
            clock.move(minutes=5)
            assert run_worker().keys == []
            parked = slot("failing_hourly")["parked_why"]
            assert parked == ("failed" if hour == 4 else "")  # eight in a row are enough
        assert set(periods("failing_hourly")) == {START + timedelta(hours=hour) for hour in (1, 2, 3, 4)}
        clock.move(days=2)
        assert run_worker().keys == []
        Hourly.fails = False
        assert refreshes.retry(caller("default"), key_base="failing_hourly") == ["failing_hourly"]
        assert run_worker().outcomes == ["done"]
        # It is on its schedule again.
        clock.set(clock().replace(minute=0, second=0) + timedelta(hours=1))
        assert run_worker().outcomes == ["unchanged"]


@pytest.mark.django_db
def test_one_that_fails_stops_none_of_the_others(clock: Clock) -> None:
    class Some(Primer):
        key_base = "some_fail"
        parameters = [IntegerParameter("n")]
        schedule = every(minutes=1)
        domain = range(100)

        def compute(self, key: Any) -> Any:
            return 1 / (key.params["n"] - 50)

    with registered(Some):
        run_worker()
        clock.move(minutes=1)
        ran = run_worker()
        assert ran.failed == ["some_fail/50"]
        assert Counter(ran.outcomes) == {"done": 99, "failed": 1}


# -- what is declared changes --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_raised_version_makes_what_was_computed_before_be_computed_again(
    clock: Clock, tick: Primer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.get("tick") == 1
    with assert_computes(0, "tick"):
        cache.get("tick")
    monkeypatch.setattr(Tick, "version", 2)
    assert "computed by version 1 of the primer; it is at 2" in cache.explain("tick")["cause"]
    with assert_computes(1, "tick"):
        assert cache.get("tick") == 2
        assert cache.get("tick") == 2
    assert DataProduct.objects.get(key="tick").primer_version == 2


@pytest.mark.django_db
def test_another_schedule_is_in_force_with_the_next_pass_and_none_at_all_too(clock: Clock) -> None:
    def declared(**attributes: Any) -> type[Primer]:
        return type("Changing", (Tick,), {"key_base": "changing", **attributes})

    with registered(declared()):
        run_worker()
        clock.move(minutes=1)
        assert run_worker().keys == ["changing"]
    with registered(declared(schedule=every(minutes=10))):
        run_worker()
        assert slot("changing")["due_at"] == START + 10 * MINUTE
        clock.move(minutes=1)
        assert run_worker().keys == []
        clock.set(START + 10 * MINUTE)
        assert run_worker().keys == ["changing"]
        # Planning again changes nothing: it neither loses a period nor runs one twice.
        clock.set(START + 20 * MINUTE)
        for _ in range(3):
            assert plan.sync(caller("default"), "default", clock()) == 0
        assert run_worker().keys == ["changing"]
    with registered(declared(schedule=None)):
        run_worker()
        clock.move(days=1)
        assert run_worker().keys == []
        assert slot("changing")["due_at"] is None
        assert cache.get("changing") is not None


@pytest.mark.django_db
def test_a_process_of_an_older_version_does_not_put_the_older_schedule_back(clock: Clock) -> None:
    def declared(**attributes: Any) -> type[Primer]:
        return type("Rolling", (Tick,), {"key_base": "rolling", **attributes})

    with registered(declared(version=2, schedule=every(minutes=10))):
        run_worker()
    with registered(declared(version=1, schedule=None)):
        run_worker()
        assert slot("rolling")["due_at"] == START + 10 * MINUTE


# -- the helpers themselves ----------------------------------------------------------------------------------


def test_a_helper_that_is_given_the_wrong_kind_of_thing_says_so() -> None:
    for naive in ("2026-01-01", datetime(2026, 1, 1)):  # noqa: DTZ001
        with pytest.raises(ValueError, match="takes an aware instant"), freeze_time(naive):
            pass
    with pytest.raises(TypeError, match="a list of key bases, not the text 'tick'"):
        run_worker("tick")


def test_of_many_refreshes_a_second_some_are_told_and_how_many_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="kck_flow")
    sample = run._Sample(3)
    assert [sample.takes(7.0 + number / 10) for number in range(5)] == [True, True, True, False, False]
    assert not caplog.messages
    assert sample.takes(8.0)
    assert caplog.messages == ["refresh.sampled left_out=2"]
    assert sample.takes(9.5)
    assert len(caplog.messages) == 1
