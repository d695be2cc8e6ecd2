"""Metrics and dashboards are made and changed in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from kck_flow import Cache
from kck_flow.models import Annotation, ConfiguredDashboard, ConfiguredMetric
from kck_flow.registry import registry

pytestmark = pytest.mark.django_db
METRICS = "/admin/kck_flow/configuredmetric/"
DASHBOARDS = "/admin/kck_flow/configureddashboard/"


def text_of(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def metric(**more: Any) -> dict[str, Any]:
    return {
        "slug": "staff", "label": "Staff", "type": "count_rows", "good": "neither", "period": "day", "position": "0",
        "properties": '{"model": "auth.User", "filter": {"is_staff": true}}', **more,
    }  # fmt: skip


def panels(*rows: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"panels-TOTAL_FORMS": len(rows), "panels-INITIAL_FORMS": 0}
    for place, row in enumerate(rows):
        given = {"position": place, "show": "auto", "options": "{}", "section": "", **row}
        found |= {f"panels-{place}-{name}": value for name, value in given.items()}
    return found


def test_the_types_of_metrics_are_a_choice_and_say_what_they_take(declared: None, staff: Client) -> None:
    text = text_of(staff.get(f"{METRICS}add/"))
    for name, kind in registry.metric_types.items():
        assert f'<option value="{name}">' in text
        for one in kind.declared():
            assert one.name in text.partition("kck-help")[2]


def test_a_metric_is_made_and_collected(declared: None, staff: Client) -> None:
    response = staff.post(f"{METRICS}add/", metric())
    assert response.status_code == 302, text_of(response)[:0] or response.context["adminform"].form.errors
    assert Cache.get_instance().get("metric/staff") == 1
    row = ConfiguredMetric.objects.get()
    text = text_of(staff.get(METRICS))
    assert 'href="/admin/kck_flow/dataproduct/metric_2Fstaff/change/"' in text
    response = staff.post(f"{METRICS}{row.pk}/change/", metric(label="People", slug="other"))
    assert response.status_code == 302
    row.refresh_from_db()
    assert (row.label, row.slug) == ("People", "staff"), "its slug is in its records' keys"


def test_what_is_wrong_stands_at_its_field(declared: None, staff: Client) -> None:
    for field, given in {
        "properties": {"properties": '{"model": "auth.User", "fitler": {}}'},
        "type": {"type": "astrology"},
        "tz": {"tz": "Moon/Base"},
    }.items():
        response = staff.post(f"{METRICS}add/", metric(**given))
        assert response.status_code == 200
        assert list(response.context["adminform"].form.errors) == [field], response.context[
            "adminform"
        ].form.errors
    assert not ConfiguredMetric.objects.exists()


def test_a_dashboard_is_made_with_its_panels_and_seen(declared: None, staff: Client) -> None:
    rows = (
        {"key": "a_visits", "options": '{"title": "People who came"}'},
        {"key": "a_menu/1", "hidden": "on"},
        {"key": "a_reader", "section": "Reading"},
    )
    board = {"label": "Mornings", "slug": "mornings", "position": "1"}
    response = staff.post(f"{DASHBOARDS}add/", {**board, **panels(*rows)})
    assert response.status_code == 302, response.context["errors"]
    text = text_of(staff.get("/x/y/dashboards/mornings"))
    assert "People who came" in text
    assert "What a branch serves" not in text
    assert 'href="/x/y/dashboards/mornings"' in text_of(staff.get(DASHBOARDS))
    found = ConfiguredDashboard.objects.get()
    panel = found.panels.get(key="a_visits")
    assert panel.options == {"title": "People who came"}


def test_a_note_stands_in_the_charts(declared: None, staff: Client) -> None:
    address = "/admin/kck_flow/annotation/add/"
    note = {"text": "New prices", "start_at_0": "2026-03-02", "start_at_1": "00:00", "key": "a_visits"}
    response = staff.post(address, {**note, "key": "a_vists"})
    assert list(response.context["adminform"].form.errors) == ["key"]
    assert staff.post(address, note).status_code == 302
    assert Annotation.objects.get().key == "a_visits"
    assert "New prices" in text_of(staff.get("/admin/kck_flow/annotation/"))


def test_a_wrong_panel_and_a_wrong_rule_stand_at_their_fields(declared: None, staff: Client) -> None:
    board = {"label": "Mornings", "slug": "mornings", "position": "1"}
    for given, field in (
        ({"key": "no_such"}, "key"),
        ({"key": "a_visits", "options": '{"lst": 3}'}, "options"),
    ):
        response = staff.post(f"{DASHBOARDS}add/", {**board, **panels(given)})
        assert response.status_code == 200
        assert list(response.context["inline_admin_formsets"][0].formset.errors[0]) == [field]
    response = staff.post(f"{DASHBOARDS}add/", {**board, "permission": "everyone", **panels()})
    assert list(response.context["adminform"].form.errors) == ["permission"]
