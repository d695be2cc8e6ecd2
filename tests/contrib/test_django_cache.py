"""Django's cache framework on our tables: Django's own tests, and one that makes what many miss. Row 239."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.cache import caches
from django.core.signals import request_finished
from django.db import connection, connections, transaction
from django.template import Context, Template
from django.test import override_settings

from kck_flow.contrib.django_cache import ProductCache
from kck_flow.models import DataProduct, Flight
from tests.harness.daemons import ROOT
from tests.harness.processes import Crew, database_url_of

pytestmark = pytest.mark.django_db(transaction=True)

BACKEND = "kck_flow.contrib.django_cache.ProductCache"
PAGE = "{% load cache %}{% cache 60 menu %}{{ menu }}{% endcache %}"


@pytest.fixture(autouse=True)
def ours() -> Iterator[None]:
    with override_settings(CACHES={"default": {"BACKEND": BACKEND, "LOCATION": "pages"}}):
        yield


def at_once(count: int, do: Callable[[int], Any]) -> list[Any]:
    """Do something in so many threads at once; returns what they returned."""
    found: list[Any] = [None] * count
    line = threading.Barrier(count)

    def run(number: int) -> None:
        line.wait()
        try:
            found[number] = do(number)
        finally:
            caches["default"].close()
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


class Menu:
    """Rendered slowly, and counted."""

    def __init__(self, seconds: float = 0.3) -> None:
        self.seconds, self.times = seconds, 0

    def __str__(self) -> str:
        self.times += 1
        time.sleep(self.seconds)
        return f"menu {self.times}"


def test_a_fragment_that_many_miss_is_rendered_once() -> None:
    menu = Menu()
    found = at_once(12, lambda _: Template(PAGE).render(Context({"menu": menu})))
    assert (set(found), menu.times) == ({"menu 1"}, 1)
    assert Flight.objects.count() == 0


def render_once(name: str) -> str:
    menu = Menu(0.5)
    Template(PAGE).render(Context({"menu": menu}))
    return f"{menu.times}"


def test_processes_too_wait_for_one(crew: Crew) -> None:
    env = {"DJANGO_SETTINGS_MODULE": "tests.contrib.cached"}
    children = [crew.spawn(render_once, str(number), env=env) for number in range(4)]
    assert sorted(child.result() for child in children) == ["0", "0", "0", "1"]


def test_get_or_set_makes_it_once() -> None:
    made: list[int] = []

    def slow() -> int:
        time.sleep(0.2)
        made.append(1)
        return len(made)

    assert at_once(8, lambda _: caches["default"].get_or_set("answer", slow)) == [1] * 8
    assert len(made) == 1


def test_one_that_fails_lets_the_next_one_try_at_once() -> None:
    def broken() -> int:
        raise RuntimeError("no")

    cache = caches["default"]
    with pytest.raises(RuntimeError):
        cache.get_or_set("answer", broken)
    begun = time.monotonic()
    assert cache.get_or_set("answer", lambda: 42) == 42
    assert Flight.objects.count() == 0
    assert time.monotonic() - begun < 5


def test_one_that_breaks_off_is_let_go_with_its_request() -> None:
    cache = caches["default"]
    assert cache.get("template.cache.menu.x") is None
    assert Flight.objects.count() == 1
    request_finished.send(None)
    assert Flight.objects.count() == 0


def test_one_that_is_gone_is_waited_for_no_longer_than_was_said() -> None:
    fragment, hasty = "template.cache.menu.x", {"OPTIONS": {"FLIGHT_SECONDS": 0.3}}
    assert ProductCache("pages", hasty).get(fragment) is None
    found = at_once(3, lambda _: ProductCache("pages", hasty).get(fragment))
    assert found == [None] * 3


def test_it_is_there_with_the_commit_and_gone_with_the_rollback() -> None:
    cache = caches["default"]
    with transaction.atomic():
        cache.set("a", 1)
        assert cache.get("a") == 1
        transaction.set_rollback(True)
    assert cache.get("a") is None
    with transaction.atomic():
        cache.set("a", 2)
    assert cache.get("a") == 2


def test_none_of_what_many_add_is_lost() -> None:
    caches["default"].set("n", 0, 300)

    def add(_: int) -> None:
        for _ in range(25):
            caches["default"].incr("n")

    at_once(4, add)
    assert caches["default"].get("n") == 100
    assert DataProduct.objects.get(key_base="pages").hard_expires_at is not None  # it keeps its time


def test_what_is_not_signed_by_this_project_is_a_miss_and_nothing_of_it_is_run() -> None:
    cache = caches["default"]
    cache.set("a", {"n": 1})
    with override_settings(SECRET_KEY="another"):
        assert cache.get("a") is None
        assert cache.get_many(["a"]) == {}
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=["only for tests"]):
        assert cache.get("a") == {"n": 1}
    with connection.cursor() as cursor:
        cursor.execute("UPDATE kck_product SET value = '\"gASVFw\"' WHERE key_base = 'pages'")
    assert cache.get("a") is None


def test_several_are_one_statement(django_assert_num_queries: Any) -> None:
    cache = caches["default"]
    cache.set_many({f"k{n}": n for n in range(20)})
    with django_assert_num_queries(1):
        assert cache.get_many([f"k{n}" for n in range(25)]) == {f"k{n}": n for n in range(20)}
    with django_assert_num_queries(1):
        assert cache.get("k1") == 1


def test_two_caches_have_entries_of_their_own_and_clearing_one_leaves_the_other() -> None:
    pages, other = ProductCache("pages", {}), ProductCache("others", {})
    pages.set("a", 1)
    other.set("a", 2)
    assert (pages.get("a"), other.get("a")) == (1, 2)
    pages.clear()
    assert (pages.get("a"), other.get("a")) == (None, 2)


@pytest.mark.parametrize("location", ["a/b", "!x", "a b"])
def test_a_location_that_is_no_key_base_is_told(location: str) -> None:
    with pytest.raises(ValueError, match="it is the key base of the entries"):
        ProductCache(location, {})


# -- Django's own
# ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def django_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests of the Django that is installed: not in its wheel, but in its source."""
    folder = tmp_path_factory.mktemp("django")
    version = django.get_version()
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:", "-d", folder]
    done = subprocess.run([*pip, f"django=={version}"], capture_output=True, text=True, check=False)
    if done.returncode and os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(f"the source of Django {version} cannot be had here")
    assert done.returncode == 0, done.stderr
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        wanted = [
            one for one in archive.getmembers() if one.name.partition("/")[2].startswith("tests/cache/")
        ]
        archive.extractall(folder, wanted, filter="data")
    (found,) = folder.glob("*/tests")
    return found


@pytest.mark.slow
def test_djangos_own_tests_of_a_backend_pass_row_239(django_tests: Path) -> None:
    env = {
        **os.environ,
        "DJANGO_TESTS": str(django_tests),
        "DJANGO_SETTINGS_MODULE": "tests.contrib.suite.settings",
        "DATABASE_URL": database_url_of("default"),
    }
    command = [sys.executable, "-m", "django", "test", "tests.contrib.suite.tests", "--noinput"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ran = re.search(r"Ran (\d+) tests", done.stderr)
    assert ran is not None, done.stderr
    assert int(ran[1]) > 100
