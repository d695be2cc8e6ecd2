"""Who plays. A contestant wraps one cache; it adds nothing between the clock and the cache's own call."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contestants.base import Contestant, NotOffered

__all__ = ["CONTESTANTS", "Contestant", "Entrant", "NotOffered", "contestant"]


@dataclass(frozen=True)
class Entrant:
    """A contestant before it plays: what tables call it, where it lives, and what it needs."""

    label: str
    environment: str
    place: str
    servers: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def _entrants() -> dict[str, Entrant]:
    found: dict[str, Entrant] = {}
    here = "benchmarks.contestants."
    db = ("postgres",)
    for driver, package in (("psycopg2", "psycopg2-binary"), ("psycopg3", "psycopg")):
        found[f"kck-{driver}"] = Entrant(
            f"**kck_flow**, no declared source, {driver}",
            driver,
            here + "kck_flow:KckFlow",
            db,
            (package, "django"),
        )
        found[f"kck-sourced-{driver}"] = Entrant(
            f"**kck_flow**, a declared source, {driver}",
            driver,
            here + "kck_flow:KckFlow",
            db,
            (package, "django"),
            {"key_base": "bench_sourced"},
        )
        found[f"kck-inside-{driver}"] = Entrant(
            f"**kck_flow**, no declared source, inside a transaction, {driver}",
            driver,
            here + "kck_flow:KckFlow",
            db,
            (package, "django"),
            {"inside": True},
        )
        found[f"floor-{driver}"] = Entrant(
            f"floor: bare {driver}, SELECT by primary key",
            driver,
            here + f"floor:{driver.title()}",
            db,
            (package,),
        )
        found[f"django-db-{driver}"] = Entrant(
            f"Django DatabaseCache, {driver}",
            driver,
            here + "django_caches:DatabaseCache",
            db,
            ("django", package),
        )
        bounced = ("postgres", "pgbouncer")
        found[f"kck-bounced-{driver}"] = Entrant(
            f"**kck_flow** through PgBouncer, {driver}",
            driver,
            here + "kck_flow:KckFlow",
            bounced,
            (package, "django"),
            {"through": "pgbouncer"},
        )
    found["kck-tier"] = Entrant(
        "**kck_flow**, in-process tier",
        "psycopg2",
        here + "kck_flow:KckFlow",
        db,
        ("django",),
        {"tier_seconds": 3600},
    )
    found["django-redis"] = Entrant(
        "Django RedisCache", "psycopg2", here + "django_caches:RedisCache", ("redis",), ("django", "redis")
    )
    found["django-locmem"] = Entrant(
        "Django LocMemCache", "psycopg2", here + "django_caches:LocMemCache", (), ("django",)
    )
    found["dogpile"] = Entrant(
        "dogpile.cache, Redis",
        "redis-caches",
        here + "dogpile_caches:Redis",
        ("redis",),
        ("dogpile.cache", "redis"),
    )
    found["dogpile-memory"] = Entrant(
        "dogpile.cache, memory_pickle", "redis-caches", here + "dogpile_caches:Memory", (), ("dogpile.cache",)
    )
    found["cacheops"] = Entrant(
        "django-cacheops",
        "redis-caches",
        here + "cacheops:Cacheops",
        ("redis", "postgres"),
        ("django-cacheops",),
    )
    found["cashews"] = Entrant(
        "cashews, Redis (asyncio)", "redis-caches", here + "cashews:Redis", ("redis",), ("cashews", "redis")
    )
    found["cashews-memory"] = Entrant(
        "cashews, memory (asyncio)", "redis-caches", here + "cashews:Memory", (), ("cashews",)
    )
    found["diskcache"] = Entrant(
        "diskcache (SQLite file)", "diskcache", here + "diskcache:DiskCache", (), ("diskcache",)
    )
    found["cache-postgres"] = Entrant(
        "cache-postgres (UNLOGGED, its default)",
        "cache-postgres",
        here + "cache_postgres:CachePostgres",
        db,
        ("cache-postgres", "psycopg"),
    )
    found["cache-postgres-bounced"] = Entrant(
        "cache-postgres through PgBouncer",
        "cache-postgres",
        here + "cache_postgres:CachePostgres",
        ("postgres", "pgbouncer"),
        ("cache-postgres", "psycopg"),
        {"through": "pgbouncer"},
    )
    found["django-kck"] = Entrant(
        "django-kck 0.0.56 (on Django 3.2, the newest it runs on)",
        "django-kck",
        here + "django_kck:DjangoKck",
        db,
        ("django-kck", "django", "psycopg2-binary"),
    )
    found["dict"] = Entrant("floor: a dict lookup (shared object)", "psycopg2", here + "floor:Dict")
    for codec in ("json", "pickle", "marshal"):
        found[f"bytes-{codec}"] = Entrant(
            f"floor: a dict of bytes, {codec}.loads",
            "psycopg2",
            here + "floor:Bytes",
            (),
            (),
            {"codec": codec},
        )
    return found | _engines() | _counters() | _takers() | _framers() | _drawers() | _asked() | _looked()


def _engines() -> dict[str, Entrant]:
    here = "benchmarks.engines."
    db, broker = ("postgres",), ("redis",)
    found = {
        f"run-kck-{driver}": Entrant(
            f"**kck_flow** worker, {driver}", driver, here + "kck_flow:KckFlow", db, (package, "django")
        )
        for driver, package in (("psycopg2", "psycopg2-binary"), ("psycopg3", "psycopg"))
    }
    found["run-kck-at-once"] = Entrant(
        "**kck_flow** worker, DURABLE_PUBLISH off, psycopg2",
        "psycopg2",
        here + "kck_flow:KckFlow",
        db,
        ("psycopg2-binary", "django"),
        {"DURABLE_PUBLISH": False},
    )
    found["run-floor"] = Entrant(
        "floor: a row deleted for each job, one commit",
        "psycopg2",
        here + "floor:OneCommit",
        db,
        ("psycopg2-binary",),
    )
    place = here + "procrastinate:Procrastinate"
    found["procrastinate"] = Entrant(
        "Procrastinate", "procrastinate", place, db, ("procrastinate", "psycopg")
    )
    found["django-tasks-db"] = Entrant(
        "django-tasks-db",
        "django-tasks-db",
        here + "django_tasks_db:DjangoTasksDb",
        db,
        ("django-tasks-db", "django-tasks", "django", "psycopg2-binary"),
    )
    found["celery"] = Entrant("Celery, Redis", "celery", here + "celery:Celery", broker, ("celery", "redis"))
    found["rq"] = Entrant("RQ (forks for each job)", "rq", here + "rq:Rq", broker, ("rq", "redis"))
    simple = {"worker": "rq.worker.SimpleWorker"}
    found["rq-simple"] = Entrant("RQ, SimpleWorker", "rq", here + "rq:Rq", broker, ("rq", "redis"), simple)
    return found


def _counters() -> dict[str, Entrant]:
    place, needs = "benchmarks.contestants.counted:Counted", ("psycopg2-binary", "django")
    one, divided, sixteen = (
        {"table": "bench_tracked", "stocks": ("bench_active",)},
        {"table": "bench_divided", "stocks": tuple(f"bench_one_{n}" for n in range(16))},
        {"table": "bench_sixteen", "stocks": tuple(f"bench_each_{n}" for n in range(16))},
    )
    source = {**one, "shared": "source"}
    events = {"table": "bench_event", "shared": "events"}
    given: dict[str, tuple[str, dict[str, Any]]] = {
        "count-untracked": ("untracked: nobody counts", {}),
        "count-tally": ("counter rows, kept by a trigger", {"table": "bench_tallied"}),
        "count-kck": ("**kck_flow**, one stock", one),
        "count-signals": (
            "**kck_flow**, one stock, by signals",
            {"table": "bench_signalled", "stocks": ("bench_signalled",)},
        ),
        "count-kck-worker": ("**kck_flow**, one stock, a worker folds meanwhile", {**one, "worker": True}),
        "count-kck-divided": ("**kck_flow**, 16 stocks, each row in one", divided),
        "count-kck-sixteen": ("**kck_flow**, 16 stocks, each row in all", sixteen),
        "stock-kck": ("**kck_flow**, `cache.get`", {**source, "asks": "get"}),
        "stock-sets": ("SQL: one statement with GROUPING SETS", {**source, "asks": "sets"}),
        "stock-annotate": (
            "Django: `count()`, and `values().annotate(Count)` ×3",
            {**source, "asks": "annotate"},
        ),
        "stock-total": ("Django: `count()`, the total alone", {**source, "asks": "total"}),
        "recount-kck": ("**kck_flow**, a recount, stored", {**source, "asks": "recount"}),
        "recount-each": ("Django: `count()`, 151 times", {**source, "asks": "each"}),
        "recount-scan": ("floor: one sequential scan, one process", {**source, "asks": "scan"}),
        "flow-daily": ("**kck_flow**, windows of a day", {**events, "asks": "bench_daily"}),
        "flow-hourly": ("**kck_flow**, windows of an hour", {**events, "asks": "bench_hourly"}),
        "flow-group": ("Django: `TruncDay`, `annotate(Count)`", {**events, "asks": "group"}),
        "fold-kck": ("**kck_flow**, folds of 20,000", one),
        "fold-floor": ("floor: DELETE of 20,000 deltas at a time", {**one, "asks": "delete"}),
    }
    return {
        name: Entrant(label, "psycopg2", place, ("postgres",), needs, options)
        for name, (label, options) in given.items()
    }


def _takers() -> dict[str, Entrant]:
    place, needs = "benchmarks.contestants.topics:Taking", ("psycopg2-binary", "django")
    given = {
        "topic-kck": ("**kck_flow**, a topic that counts", "bench_counts"),
        "topic-kck-windows": ("**kck_flow**, by carrier and hour", "bench_by_carrier"),
        "topic-insert": ("floor: an INSERT for each message", ""),
    }
    return {
        name: Entrant(label, "psycopg2", place, ("postgres",), needs, {"topic": topic})
        for name, (label, topic) in given.items()
    }


def _framers() -> dict[str, Entrant]:
    place, needs = "benchmarks.contestants.frames:Framing", ("psycopg2-binary", "django")
    given = {
        "frame-rows": ("**kck_flow**, rows of the model", "bench_day"),
        "frame-light": ("**kck_flow**, light rows", "bench_light_day"),
    }
    return {
        name: Entrant(label, "psycopg2", place, ("postgres",), needs, {"frame": frame})
        for name, (label, frame) in given.items()
    }


def _drawers() -> dict[str, Entrant]:
    given = {
        "chart-page": ("**kck_flow**, within a page", False),
        "chart-alone": ("**kck_flow**, alone", True),
    }
    return {
        name: Entrant(
            label, "psycopg2", "benchmarks.contestants.charts:Drawing", (), ("django",), {"alone": alone}
        )
        for name, (label, alone) in given.items()
    }


def _looked() -> dict[str, Entrant]:
    return {
        f"page-{panels}": Entrant(
            f"**kck_flow**, {panels} panels",
            "psycopg2",
            "benchmarks.contestants.pages:Looked",
            ("postgres",),
            ("django", "psycopg2-binary"),
            {"panels": panels},
        )
        for panels in (5, 50)
    }


def _asked() -> dict[str, Entrant]:
    given: dict[str, tuple[str, dict[str, Any]]] = {
        "http-query": ("the query alone", {"how": "query"}),
        "http-kck": ("**kck_flow**, `.json`", {"how": "view"}),
        "http-query-304": ("the query alone, of a version that is known", {"how": "query", "known": True}),
        "http-kck-304": ("**kck_flow**, `.json`, 304", {"how": "view", "known": True}),
        "http-plain": ("a plain view with `JsonResponse`", {"how": "plain"}),
    }
    return {
        name: Entrant(
            label,
            "psycopg2",
            "benchmarks.contestants.http:Asked",
            ("postgres",),
            ("django", "psycopg2-binary"),
            options,
        )
        for name, (label, options) in given.items()
    }


CONTESTANTS = _entrants()


def contestant(name: str, places: dict[str, Any]) -> Contestant:
    """Make the contestant of that name; its own packages are imported only now."""
    entrant = CONTESTANTS[name]
    module, _, made_by = entrant.place.partition(":")
    player: Contestant = getattr(importlib.import_module(module), made_by)(name, places, **entrant.options)
    player.servers = entrant.servers
    return player
