"""The overview and the lists (features 17, 172, 173, 177, 179; experience §9 A)."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings

from kck_flow import Metric
from kck_flow.models import ConfiguredMetric
from kck_flow.refresh import collecting
from tests.pages.conftest import DAY, NOW, ROOT

pytestmark = pytest.mark.django_db


def text_of(response: Any) -> str:
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return str(body.decode())


def tile(html: str, label: str) -> str:
    """Return the tile whose accessible name begins with a label."""
    found = re.search(rf'<a class="kck-tile[^>]*aria-label="{re.escape(label)}[^>]*>.*?</a>', html, re.S)
    assert found is not None, f"no tile {label!r}"
    return found[0]


def name_of(html: str, label: str) -> str:
    found = re.search(r'aria-label="([^"]*)"', tile(html, label))
    assert found is not None
    return found[1].replace("\u00a0", " ")


def test_a_tile_says_what_it_is_in_one_name(history: Any, staff: Client) -> None:
    html = text_of(staff.get(ROOT))
    # 30 days of 20 to 26; against the 29 whole days before, as far as these have got
    assert re.fullmatch(
        r"Sign-ups 689 sign-ups in 30 days, (up|down) \d(\.\d)? % against the 30 days before, fresh",
        name_of(html, "Sign-ups"),
    )
    assert re.fullmatch(r"Share of visitors who stay 3\d %, (up|down) .*, fresh", name_of(html, "Share"))


def test_a_failure_is_no_zero_and_a_zero_is_a_value(history: Any, staff: Client) -> None:
    html = text_of(staff.get(ROOT))
    assert '<span class="kck-number">0</span>' in tile(html, "People who complain")
    broken = tile(html, "Satisfaction")
    assert '<span class="kck-number kck-none">–</span>' in broken
    assert "It could not be computed." in broken
    assert "kck-chip-failed" in broken
    assert "the survey does not answer" not in html  # why is on its own page
    rows = {row["key"]: row for row in json.loads(text_of(staff.get(f"{ROOT}overview.json")))["rows"]}
    assert rows["p_nobody"]["value"] == 0
    assert rows["p_broken"]["value"] is None
    assert rows["p_broken"]["state"] == "failed"
    assert "the survey does not answer" in text_of(staff.get(f"{ROOT}metrics/p_broken"))


def test_all_faces_have_the_same_numbers(history: Any, staff: Client) -> None:
    rows = json.loads(text_of(staff.get(f"{ROOT}overview.json")))["rows"]
    lines = list(csv.DictReader(io.StringIO(text_of(staff.get(f"{ROOT}overview.csv")))))
    assert [line["key"] for line in lines] == [row["key"] for row in rows]
    assert [line["value"] for line in lines] == [
        "" if row["value"] is None else str(row["value"]) for row in rows
    ]
    html = text_of(staff.get(ROOT))
    for row in rows:
        if row["key"] == "p_signups":
            assert f'<span class="kck-number">{row["value"]}</span>' in tile(html, "Sign-ups")


def test_the_sentence_counts_what_is_fresh(history: Any, staff: Client) -> None:
    html = text_of(staff.get(ROOT)).replace("\u00a0", " ")
    assert "3 of 4 are fresh · 1 failed (Satisfaction)" in html


def test_what_may_not_be_seen_is_counted_and_not_shown(history: Any, staff: Client) -> None:
    html = text_of(staff.get(ROOT))
    assert "1 product is hidden: you may not see it." in html
    assert "p_report" not in html
    assert "A list that takes a while" not in html
    assert "p_report" not in text_of(staff.get(f"{ROOT}products.json"))


def test_fifty_metrics_cost_as_many_queries_as_five(history: Any, staff: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert staff.get(ROOT).status_code == 200
        # Who looks, and (to the staff, once in five seconds of a process) whether a worker lives.
        beside = ("django_session", "auth_user", "kck_worker")
        return len([one for one in seen if not any(table in one["sql"] for table in beside)])

    Metric.create("count_rows", "row0", model="shop.Author")
    list(collecting.collect(["row0"]))
    few = queries()
    for number in range(1, 46):
        Metric.create("count_rows", f"row{number}", model="shop.Author")
    list(collecting.collect([f"row{number}" for number in range(1, 46)]))
    assert ConfiguredMetric.objects.count() == 46
    assert queries() == few
    assert few <= 5


def test_nothing_of_a_page_is_inline(history: Any, staff: Client) -> None:
    for place in (
        "",
        "metrics",
        "products",
        "processes",
        "frames",
        "dashboards",
        "metrics/p_signups",
        "products/p_share",
    ):
        html = text_of(staff.get(ROOT + place))
        assert "<style" not in html
        assert " style=" not in html
        assert not re.search(r"<script(?! src=)", html)
        assert not re.search(r"\son\w+=", html)
        assert "javascript:" not in html


def test_each_link_of_each_page_leads_somewhere(history: Any, staff: Client) -> None:
    seen, todo = set(), [ROOT]
    while todo:
        address = todo.pop()
        if address in seen or not address.startswith(ROOT):
            continue
        seen.add(address)
        response = staff.get(address)
        assert response.status_code == 200, address
        if response["Content-Type"].startswith("text/html"):
            html = text_of(response)
            found = re.findall(r'href="([^"#]+)', html)
            assert all(one.startswith((ROOT, "/static/", "?")) for one in found), found
            todo += [one.replace("&amp;", "&") for one in found if not one.startswith("?")]
    assert len(seen) > 20


def test_the_sparkline_is_dashed_where_today_is(history: Any, staff: Client) -> None:
    assert "stroke-dasharray" in tile(text_of(staff.get(ROOT)), "Sign-ups")
    assert "stroke-dasharray" not in tile(text_of(staff.get(f"{ROOT}?complete=1")), "Sign-ups")


def test_the_comparison_is_to_date(history: Any, staff: Client) -> None:
    """Of what is added up, the day that is in progress is left out on both sides."""
    rows = {
        row["key"]: row for row in json.loads(text_of(staff.get(f"{ROOT}overview.json?range=7d")))["rows"]
    }
    whole = [20 + (10 - back) % 7 for back in range(6, 0, -1)]  # 4 to 9 March: the days that are over
    older = [20 + day % 7 for day in (25, 26, 27, 28, 1, 2)]  # 25 February to 2 March: as many
    assert rows["p_signups"]["value"] == sum(whole) + 20 + 10 % 7
    assert rows["p_signups"]["before"] == sum(older)
    assert sum(whole) - sum(older) == 0
    assert (rows["p_signups"]["change"], rows["p_signups"]["direction"]) == ("0", "same")


def test_a_metric_has_a_chart_a_sentence_and_a_table_of_the_same_numbers(history: Any, staff: Client) -> None:
    html = text_of(staff.get(f"{ROOT}metrics/p_signups?range=7d"))
    rows = json.loads(text_of(staff.get(f"{ROOT}metrics/p_signups.json?range=7d")))["rows"]
    assert [row["value"] for row in rows] == [24, 25, 26, 20, 21, 22, 23]
    assert [row["complete"] for row in rows] == [True] * 6 + [False]
    cells = re.findall(r'<td class="kck-right">([^<]*)</td>', html)
    assert [cell for cell in cells if "in progress" in cell] == ["23 (in progress)"]
    assert re.search(
        r"Sign-ups per day, .*: between 20 and 26, .* on average; latest 23 \(in progress\)", html
    )
    assert 'role="img"' in html
    assert "goal 30" in html


def test_the_list_of_metrics_is_of_the_range(history: Any, staff: Client) -> None:
    html = text_of(staff.get(f"{ROOT}metrics"))
    row = re.search(r"<tr><th[^>]*><a[^>]*>Sign-ups</a>.*?</tr>", html, re.S)
    assert row is not None
    assert "sign-ups in 30 days" in row[0]
    assert "<svg" in row[0]
    assert re.search(r"[▲▼]</span> [+−][\d.]+", row[0])
    (told,) = [one for one in staff.get(f"{ROOT}metrics.json").json()["rows"] if one["key"] == "p_signups"]
    assert told["value"] == int(re.search(r"([\d,]+) sign-ups in", row[0])[1].replace(",", ""))  # type: ignore[index]


def test_a_gap_is_a_gap_in_every_face(declared: Any, history: Any, staff: Client) -> None:
    from kck_flow.models import Record

    gone = history().replace(hour=0, minute=0) - DAY * 3
    Record.objects.filter(key="p_share", start_at=gone).delete()
    rows = json.loads(text_of(staff.get(f"{ROOT}metrics/p_share.json?range=7d")))["rows"]
    assert [row["value"] is None for row in rows] == [False, False, False, True, False, False, False]
    html = text_of(staff.get(f"{ROOT}metrics/p_share?range=7d"))
    assert "1 day without a value" in html, re.findall("<figcaption>.*?</figcaption>", html)
    assert '<td class="kck-right">–</td>' in html


def test_a_unit_is_singular_with_one(history: Any, staff: Client) -> None:
    Metric.create("count_rows", "one", model="accounts.Account", unit="account", unit_plural="accounts")
    from tests.accounts.models import Account

    list(collecting.collect(["one"]))
    assert "0 accounts" in name_of(text_of(staff.get(ROOT)), "one")
    Account.objects.create()
    history.move(minutes=1)
    list(collecting.collect(["one"]))
    assert "1 account," in name_of(text_of(staff.get(ROOT)), "one")


def test_an_empty_site_says_what_to_do(site: None, db: None, staff: Client) -> None:
    html = text_of(staff.get(ROOT))
    assert "There is nothing here yet." in html
    assert "manage.py kck init APP" in html


def test_a_never_computed_product_is_asked_for(declared: Any, staff: Client) -> None:
    html = text_of(staff.get(ROOT))
    assert "Never computed" in tile(html, "Sign-ups")


def test_what_was_noted_stands_in_the_chart_and_below_it(history: Any, staff: Client) -> None:
    from kck_flow.models import Annotation

    Annotation.objects.create(start_at=history() - DAY * 2, text="The price changed")
    Annotation.objects.create(start_at=history() - DAY * 2, text="Of another", key="p_share")
    Annotation.objects.create(start_at=history() - DAY * 50, text="Long ago")
    html = text_of(staff.get(f"{ROOT}metrics/p_signups?range=7d"))
    assert html.count("The price changed") >= 3  # for a desk, for a phone, and in words
    assert "Of another" not in html
    assert "Long ago" not in html


@pytest.mark.parametrize(("begins", "name"), [("monday", "Monday"), ("sunday", "Sunday")])
def test_weeks_begin_where_the_project_says_and_the_page_says_it(
    history: Any, staff: Client, begins: str, name: str
) -> None:
    asked = {"by": "week", "range": "90d", "tz": "UTC"}
    with override_settings(KCK_FLOW={"WEEK_START": begins}):
        assert f"UTC · weeks start {name}" in text_of(staff.get(f"{ROOT}metrics/p_signups", asked))
        rows = staff.get(f"{ROOT}metrics/p_signups.json", asked).json()["rows"]
    whole = 0
    for row in rows:
        start = datetime.fromisoformat(row["start"])
        assert start.strftime("%A") == name
        days = [start + number * DAY for number in range(7)]
        if row["complete"] and start > NOW - DAY * 69:
            assert int(row["value"]) == sum(20 + day.day % 7 for day in days)
            whole += 1
    assert whole >= 8
