"""What a page weighs (speed P4; experience §12): bytes and requests, which need no browser to be counted."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

import kck_flow
from kck_flow import Metric
from kck_flow.refresh import collecting
from kck_flow.testing import freeze_time
from stylesheet import written
from tests.pages.conftest import DAY, NOW, ROOT, declared, history, site, staff

pytestmark = pytest.mark.django_db
STATIC = Path(kck_flow.__file__).parent / "static" / "kck_flow"


def test_an_overview_of_fifty_weighs_less_than_twenty_kilobytes(history: Any, staff: Client) -> None:
    names = [f"row{number}" for number in range(50)]
    for name in names:
        Metric.create("fake", name, level=100 + len(name), seed=names.index(name), label=f"Numbers of {name}")
    with freeze_time(NOW - DAY * 40) as clock:
        list(collecting.collect(names))
        clock.set(NOW)
        list(collecting.collect(names))
        html = staff.get(ROOT).content
    assert html.count(b"kck-tile-label") >= 50
    files = re.findall(rb'(?:href|src)="/static/([^"]+\.(?:css|js))"', html)
    assert len(files) == 2  # with the page itself, three requests
    bodies = [html, *(Path(str(finders.find(name.decode()))).read_bytes() for name in files)]
    sizes = [len(gzip.compress(body)) for body in bodies]
    assert sum(sizes) <= 20_000, sizes


def test_the_stylesheet_has_the_palette_that_pictures_are_painted_with() -> None:
    text = (STATIC / "kck.css").read_text()
    assert written(text) == text, "run: python tools/stylesheet.py"


__all__ = ["declared", "history", "site", "staff"]
