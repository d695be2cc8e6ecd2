"""``manage.py page_twice``: ask for the products of the first page cold, then warm, and change a flight."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand
from kck_flow import Cache
from kck_flow.models import Run

from flights import primers
from flights.models import Flight
from flights.views import overview_keys


class Command(BaseCommand):
    help = "Ask for the first page's products cold, then warm; print both times and the number of computes."

    def handle(self, **options: Any) -> None:
        cache = Cache.get_instance()
        primers.invalidate_all()
        keys = list(overview_keys().values())
        cold, warm = Asked(keys), Asked(keys)
        width = max(len(key) for key in keys)
        self.stdout.write(f"{'':{width}}  {'cold':>12}  {'warm':>12}")
        for key in keys:
            self.stdout.write(f"{key:{width}}  {said(cold.seconds[key]):>12}  {said(warm.seconds[key]):>12}")
        label = f"{len(keys)} products"
        self.stdout.write(f"{label:{width}}  {said(cold.total):>12}  {said(warm.total):>12}")
        self.stdout.write(f"{'computes':{width}}  {cold.computes:>12}  {warm.computes:>12}")
        late = cache.get("late_destinations")
        self.stdout.write(
            f"\nThe ranking was found in {late['read']} of {late['of']} destinations; "
            f"{cold.by_base.get('destination', 0)} of their products were computed."
        )
        self.change_a_flight()

    def change_a_flight(self) -> None:
        cache = Cache.get_instance()
        flight = Flight.objects.filter(departure_delay__isnull=False, origin="JFK").order_by("pk")[0]
        key = cache.build_key("delay_tally", airport=flight.origin_id)
        before, runs = cache.get(key), computes_of(key)
        delay = flight.departure_delay or 0
        flight.departure_delay = delay + 60
        flight.save()
        try:
            after, seconds = timed(partial(cache.get, key))
            counted = computes_of(key) - runs
            self.stdout.write(
                f"\nSaved {flight}, an hour later than it was: {key} went from {before['minutes']:,} "
                f"to {after['minutes']:,} minutes, got in {said(seconds)}; computes: {counted}."
            )
        finally:  # the flights stay what they were
            flight.departure_delay = delay
            flight.save()


class Asked:
    """How long each product took, and what was computed for it."""

    def __init__(self, keys: list[str]) -> None:
        cache = Cache.get_instance()
        last = Run.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        self.seconds = {key: timed(partial(cache.get, key))[1] for key in keys}
        self.total = sum(self.seconds.values())
        runs = Run.objects.filter(pk__gt=last, outcome__in=[Run.DONE, Run.UNCHANGED])
        self.by_base: dict[str, int] = {}
        for base in runs.values_list("key_base", flat=True):
            self.by_base[base] = self.by_base.get(base, 0) + 1
        self.computes = sum(self.by_base.values())


def computes_of(key: str) -> int:
    return Run.objects.filter(key=key, outcome__in=[Run.DONE, Run.UNCHANGED]).count()


def timed(ask: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return ask(), time.perf_counter() - started


def said(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
