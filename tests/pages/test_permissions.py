"""Who may see what: one function, closed by default (features 178, 208; experience §10, 17)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client, override_settings

from kck_flow import Dashboard, IntegerParameter, Panel, Primer, Section
from kck_flow.permission import ACTIONS, allows, may, problem
from kck_flow.registry import registry
from kck_flow.testing import registered
from tests.pages.conftest import ROOT

pytestmark = pytest.mark.django_db


def of_tenant(user: Any, action: str, about: Any) -> bool:
    return bool(getattr(user, "username", "") == f"tenant{about.params['tenant']}")


class Tenants(Primer):
    """Of one tenant."""

    key_base, parameters, permission = "p_tenant", [IntegerParameter("tenant")], staticmethod(of_tenant)

    def compute(self, key: Any) -> int:
        return int(key.params["tenant"])


class Public(Primer):
    """For everybody."""

    key_base, permission = "p_public", "public"

    def compute(self, key: Any) -> int:
        return 1


class Closed(Primer):
    """For the staff."""

    key_base = "p_closed"

    def compute(self, key: Any) -> int:
        return 2


@pytest.fixture
def declared(site: None) -> Iterator[None]:
    with registered(Tenants, Public, Closed):
        yield


def user_of(name: str) -> Any:
    if name == "anonymous":
        return None
    return User.objects.create_user(name, is_staff=name == "staff")


# user, address, HTML, JSON
MATRIX = [
    ("anonymous", "products/p_public", 200, 200),
    ("anonymous", "products/p_closed", 302, 401),
    ("anonymous", "products/p_tenant%2F1", 302, 401),
    ("somebody", "products/p_public", 200, 200),
    ("somebody", "products/p_closed", 403, 403),
    ("somebody", "products/p_tenant%2F1", 403, 403),
    ("staff", "products/p_closed", 200, 200),
    ("staff", "products/p_tenant%2F1", 403, 403),
    ("tenant1", "products/p_tenant%2F1", 200, 200),
    ("tenant1", "products/p_tenant/1", 200, 200),
    ("tenant1", "products/p_tenant%2F2", 403, 403),
    ("staff", "products/p_nothing", 404, 404),
    ("anonymous", "products/p_nothing", 302, 401),  # what is there is nobody's business either
    ("tenant1", "products/p_tenant%2Fx", 404, 404),
]


@pytest.mark.parametrize(("name", "address", "html", "as_json"), MATRIX)
def test_who_may_see_what(
    declared: None, client: Client, name: str, address: str, html: int, as_json: int
) -> None:
    user = user_of(name)
    if user is not None:
        client.force_login(user)
    assert client.get(ROOT + address).status_code == html
    for face in ("json", "csv", "svg"):
        response = client.get(f"{ROOT}{address}.{face}")
        assert response.status_code == as_json, face
        if as_json != 200:
            assert response["Content-Type"] == "application/problem+json"
            assert response.json()["status"] == as_json


def test_somebody_unknown_is_sent_to_log_in_and_comes_back(declared: None, client: Client) -> None:
    response = client.get(f"{ROOT}products/p_closed?range=7d")
    assert response["Location"] == "/login/?next=/x/y/products/p_closed%3Frange%3D7d"


def test_lists_show_what_one_may_see(declared: None, client: Client) -> None:
    client.force_login(user_of("somebody"))
    rows = client.get(f"{ROOT}products.json").json()["rows"]
    assert [row["key"] for row in rows] == ["p_public"]


def test_doing_something_needs_a_permission_besides(declared: None) -> None:
    user = user_of("staff")
    assert [action for action in ACTIONS if may(user, action, "p_closed")] == ["view", "export"]
    for action in ("refresh", "invalidate", "write", "share"):
        user.user_permissions.add(_permission(f"{action}_dataproduct"))
    user = User.objects.get(pk=user.pk)
    assert [action for action in ACTIONS if may(user, action, "p_closed")] == list(ACTIONS)
    assert not may(user, "refresh", registry.key("p_tenant/1"))  # who may not see it, may not touch it


def _permission(codename: str) -> Permission:
    from django.contrib.contenttypes.models import ContentType

    from kck_flow.models import DataProduct

    kind = ContentType.objects.get_for_model(DataProduct)
    return Permission.objects.get_or_create(
        codename=codename, content_type=kind, defaults={"name": codename}
    )[0]


@pytest.mark.parametrize(
    ("rule", "anonymous", "somebody", "staff"),
    [
        ("public", True, True, True),
        ("authenticated", False, True, True),
        ("staff", False, False, True),
        ("superuser", False, False, False),
        ("nobody", False, False, False),
        ("shop.view_order", False, False, False),
        ("tests.pages.test_permissions.of_everybody", True, True, True),
        (None, False, False, True),
    ],
)
def test_rules(rule: Any, anonymous: bool, somebody: bool, staff: bool) -> None:
    found = [
        allows(rule, user, "view", "key") for user in (AnonymousUser(), user_of("somebody"), user_of("staff"))
    ]
    assert found == [anonymous, somebody, staff]
    assert allows(rule, None, "view", "key") is anonymous
    gone = User(username="gone", is_staff=True, is_active=False)
    assert allows(rule, gone, "view", "key") is anonymous


def of_everybody(user: Any, action: str, about: Any) -> bool:
    return True


def test_the_projects_rule_is_a_setting(declared: None) -> None:
    with override_settings(KCK_FLOW={"PERMISSION": "authenticated"}):
        assert may(user_of("somebody"), "view", "p_closed")
    with override_settings(KCK_FLOW={"PERMISSION": "tests.pages.test_permissions.of_everybody"}):
        assert may(None, "view", "p_closed")


def test_what_is_no_rule_is_told() -> None:
    assert problem("everyone") == "permission is 'everyone'"
    assert "cannot be imported" in problem("shop.no.such_function")
    assert problem("shop.view_order") == ""
    with pytest.raises(ValueError, match="permission is one of"):
        allows("everyone", User(is_active=True), "view", "key")
    with pytest.raises(ValueError, match="action is one of"):
        allows("public", None, "look", "key")


# -- dashboards


class Board(Dashboard):
    """All of one customer."""

    slug, parameters, permission = "board", [IntegerParameter("tenant")], "authenticated"
    panels = [Section("Numbers", [Panel("p_tenant", title="Yours"), "p_public"]), "p_closed"]


@pytest.fixture
def board(declared: None) -> Iterator[None]:
    registry.register_dashboard(Board)
    yield
    del registry.dashboards["board"]


def test_a_dashboard_is_one_page_for_each_of_its_values(board: None, client: Client) -> None:
    assert client.get(f"{ROOT}dashboards/board/1").status_code == 302
    client.force_login(user_of("tenant1"))
    html = client.get(f"{ROOT}dashboards/board/1").content.decode()
    assert "Yours" in html
    assert "For everybody" in html
    assert "1 product is hidden: you may not see it." in html
    rows = client.get(f"{ROOT}dashboards/board/1.json").json()["rows"]
    assert [(row["section"], row["key"]) for row in rows] == [
        ("Numbers", "p_tenant/1"),
        ("Numbers", "p_public"),
    ]
    other = client.get(f"{ROOT}dashboards/board/2").content.decode()
    assert "Yours" not in other
    assert client.get(f"{ROOT}dashboards/board/x").status_code == 404
    assert client.get(f"{ROOT}dashboards/bord").status_code == 404


def test_a_dashboard_of_rows_is_open_to_whom_its_rule_says(declared: None, client: Client) -> None:
    from kck_flow.models import ConfiguredDashboard, ConfiguredPanel

    row = ConfiguredDashboard.objects.create(slug="shown", label="Shown", permission="public")
    ConfiguredDashboard.objects.create(slug="hidden", label="Hidden")
    ConfiguredPanel.objects.create(dashboard=row, key="p_public", section="First", options={"title": "Mine"})
    ConfiguredPanel.objects.create(dashboard=row, key="p_closed", section="First")
    ConfiguredPanel.objects.create(dashboard=row, key="p_public", section="First", hidden=True)
    html = client.get(f"{ROOT}dashboards/shown").content.decode()
    assert "Mine" in html
    assert "For the staff" not in html
    assert client.get(f"{ROOT}dashboards/hidden").status_code == 302
    assert [one["slug"] for one in client.get(f"{ROOT}dashboards.json").json()["rows"]] == ["shown"]


def test_panels_that_are_wrong_are_refused_when_they_are_saved(declared: None) -> None:
    from django.core.exceptions import ValidationError

    from kck_flow.models import ConfiguredDashboard, ConfiguredPanel

    row = ConfiguredDashboard.objects.create(slug="wrong", label="Wrong")
    for given, field in (
        ({"key": "p_publik"}, "key"),
        ({"key": "p_tenant/x"}, "key"),
        ({"key": "p_public", "options": {"titel": "x"}}, "options"),
        ({"key": "p_public", "options": {"last": 0}}, "options"),
        ({"key": "p_public", "show": "pie"}, "show"),
    ):
        with pytest.raises(ValidationError) as refused:
            ConfiguredPanel.objects.create(dashboard=row, **given)
        assert field in refused.value.message_dict
