#!/usr/bin/env python3
"""Walk the first ten minutes with the package, from an empty folder, as somebody would who has just heard of it.

    python tools/first_ten_minutes.py [WHEEL]

A project with a small shop of its own; the wheel installed; two lines edited; and from there to a first chart, who is
behind its number, a change that shows, the same as JSON and as a picture, and a test. Prints each step with its time,
and exits 1 where one does not do what it should. A person reads and types besides; these are the machine's seconds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import unquote, urlencode, urlsplit

import postgres
from try_wheel import Tried, build, run

MODELS = '''
from django.db import models


class Customer(models.Model):
    """Somebody who shops."""

    STATES = [("trial", "on trial"), ("active", "active"), ("gone", "gone")]

    name = models.CharField(max_length=80)
    state = models.CharField(max_length=8, choices=STATES, default="trial")
    joined_at = models.DateTimeField()

    def __str__(self):
        return self.name
'''
ADMIN = """
from django.contrib import admin

from shop.models import Customer


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ["name", "state", "joined_at"]
"""
PEOPLE = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from shop.models import Customer
now = timezone.now()
Customer.objects.bulk_create(
    Customer(
        name=f"Customer {n}", state=("trial", "active", "active", "gone")[n % 4], joined_at=now - timedelta(hours=7 * n)
    )
    for n in range(200)
)
User.objects.create_superuser("me", password="me")
"""
URLS = """
from django.contrib import admin
from django.urls import include, path
import kck_flow.admin

kck_flow.admin.extend(admin.site)
urlpatterns = [path("admin/", admin.site.urls), path("flow/", include("kck_flow.urls"))]
"""


class Walk:
    """The steps, each with its time."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float, str]] = []

    def step(self, name: str, work: Callable[[], str]) -> None:
        """Take a step; ``work`` returns what is worth knowing of it."""
        began = time.monotonic()
        told = work()
        self.steps.append((name, time.monotonic() - began, told))
        print(f"{self.steps[-1][1]:6.1f} s  {name:<44}  {told}", flush=True)


def expect(pattern: str, said: str) -> str:
    """Return what of a text a pattern finds."""
    found = re.search(pattern, said, flags=re.S)
    if found is None:
        raise Tried(f"expected {pattern!r} in:\n{said[:3000]}")
    return found[1] if found.groups() else found[0]


def main(arguments: list[str]) -> int:
    """Walk with the given wheel, or with one built now; return the exit code."""
    walk = Walk()
    with tempfile.TemporaryDirectory(prefix="kck_flow_ten_minutes_") as temporary:
        folder = Path(temporary)
        try:
            wheel = Path(arguments[0]) if arguments else build(folder)
            with postgres.server() as running:
                _walk(walk, folder, wheel, running.url)
        except Tried as failed:
            print(f"first_ten_minutes.py: {failed}", file=sys.stderr)
            return 1
    print(f"{sum(seconds for _, seconds, _ in walk.steps):6.1f} s  in all, {len(walk.steps)} steps")
    return 0


def _walk(walk: Walk, folder: Path, wheel: Path, url: str) -> None:
    project = folder / "project"
    project.mkdir()
    python = folder / "venv" / "bin" / "python"
    manage: list[str | Path] = [python, "manage.py"]
    run([sys.executable, "-m", "venv", folder / "venv"])
    # What they have already: a project on PostgreSQL, with an app, rows and an admin.
    run([python, "-m", "pip", "install", "--quiet", "django", "psycopg2-binary"])
    run([python, "-m", "django", "startproject", "site_of_ours", "."], project)
    run([*manage, "startapp", "shop"], project)
    (project / "shop" / "models.py").write_text(MODELS)
    (project / "shop" / "admin.py").write_text(ADMIN)
    parts = urlsplit(url)
    database = {
        "ENGINE": "django.db.backends.postgresql", "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""), "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "", "PORT": str(parts.port or ""),
    }  # fmt: skip
    settings = project / "site_of_ours" / "settings.py"
    with settings.open("a") as out:
        out.write(f"\nINSTALLED_APPS += ['shop']\nDATABASES = {{'default': {database!r}}}\n")
    run([*manage, "makemigrations", "shop"], project)
    run([*manage, "migrate", "--verbosity", "0"], project)
    run([*manage, "shell", "-c", PEOPLE], project)

    # From here on it is what they do.
    walk.step("pip install kck-flow", lambda: run([python, "-m", "pip", "install", "--quiet", wheel]) or "")

    def edited() -> str:
        with settings.open("a") as out:
            out.write("INSTALLED_APPS += ['kck_flow']\n")
        (project / "site_of_ours" / "urls.py").write_text(URLS)
        return "INSTALLED_APPS, urls.py"

    walk.step("two lines edited", edited)
    walk.step(
        "manage.py migrate", lambda: run([*manage, "migrate", "--verbosity", "0"], project) or "tables made"
    )

    def checked() -> str:
        done = subprocess.run(
            [*map(str, manage), "kck", "check", "--setup"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        return expect(r"(kck init \w+)", done.stdout + done.stderr)

    walk.step("manage.py kck check --setup", checked)
    walk.step(
        "manage.py kck init shop", lambda: " ".join(run([*manage, "kck", "init", "shop"], project).split())
    )
    walk.step(
        "manage.py migrate: the triggers",
        lambda: run([*manage, "migrate", "--verbosity", "0"], project) or "",
    )

    def refreshed() -> str:
        done = subprocess.run(
            [*map(str, manage), "kck", "refresh"], cwd=project, capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        expect(r"shop\.customers_active\s+.*?100", said)
        return expect(r"shop\.new_customers: (filled in the \d+ periods before)", said)

    walk.step("manage.py kck refresh", refreshed)
    with _serving(manage, project) as site:
        browser = _Browser(site)

        def chart() -> str:
            browser.sign_in()
            page = browser.get("/flow/")
            expect("Customers: active", page)
            page = browser.get("/flow/metrics/shop.new_customers?range=90d")
            return f"a chart of {len(re.findall('<tr>', page)) - 1} days"

        walk.step("/flow/: the first chart", chart)

        def behind() -> str:
            page = browser.get("/flow/products/shop.customers_active")
            listed = browser.get(expect(r'href="(/flow/members/[^"]+)"', page))
            return expect(r"(Showing members of .{0,80}? counted)", re.sub(r"<[^>]+>", "", listed))

        walk.step("the number: who is behind it", behind)

        def changed() -> str:
            run([*manage, "shell", "-c", "from shop.models import Customer; "
                 "Customer.objects.filter(state='trial').update(state='active')"], project)  # fmt: skip
            value = json.loads(browser.get("/flow/products/shop.customers_active.json"))["value"]["value"]
            if value != 150:
                raise Tried(f"the number is {value}, not 150")
            return "100 → 150, at once"

        walk.step("rows change, and so does the number", changed)
        walk.step(
            ".json", lambda: expect('"rows"', browser.get("/flow/metrics/shop.new_customers.json?range=7d"))
        )
        walk.step(
            ".svg", lambda: expect("<svg", browser.get("/flow/metrics/shop.new_customers.svg?range=90d"))
        )
    walk.step(
        "manage.py test",
        lambda: expect(
            r"Ran \d+ tests? in [\d.]+s",
            subprocess.run(
                [*map(str, manage), "test", "shop"], cwd=project, capture_output=True, text=True, check=True
            ).stderr,
        ),
    )

    def deployed() -> str:
        command = [*map(str, manage), "check", "--deploy"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
        told = re.findall(r"kck_flow\.W\d+", done.stderr)
        if told != ["kck_flow.W006", "kck_flow.W007"]:
            raise Tried(f"it warned of {told}: {done.stderr}")
        return "two warnings of ours: " + ", ".join(told)

    walk.step("manage.py check --deploy", deployed)


@contextmanager
def _serving(manage: list[str | Path], project: Path) -> Iterator[str]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE")
    }
    server = subprocess.Popen(
        [*map(str, manage), "runserver", "--noreload", str(port)], cwd=project, env=clean, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(200):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


class _Browser:
    def __init__(self, site: str) -> None:
        self.site = site
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str, form: dict[str, str] | None = None) -> str:
        data = urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(self.site + path, data, {"Referer": self.site + path})
        with self.opener.open(request, timeout=30) as answer:
            return str(answer.read().decode())

    def sign_in(self) -> None:
        page = self.get("/admin/login/")
        token = expect(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        self.get(
            "/admin/login/",
            {"username": "me", "password": "me", "next": "/admin/", "csrfmiddlewaretoken": token},
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
