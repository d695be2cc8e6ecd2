"""The pages and the API, under any prefix: ``path("flow/", include("kck_flow.urls"))``."""

from __future__ import annotations

from django.urls import re_path

from .api import links, openapi, resources
from .dashboards import lineage, members_view, views

app_name = "kck_flow"

_FACE = r"(?:\.(?P<face>html|json|csv|svg))?\Z"
_KEY = r"(?P<key>[\s\S]+?)"  # whatever it is spelled with, it is told what is wrong with it

urlpatterns = [
    re_path(r"^$", views.show_overview, name="index"),
    re_path(rf"^overview{_FACE}", views.show_overview, name="overview"),
    re_path(rf"^dashboards{_FACE}", views.show_dashboards, name="dashboards"),
    re_path(
        rf"^dashboards/(?P<slug>[-\w]+)(?:/(?P<rest>[\s\S]+?))?{_FACE}",
        views.show_dashboard,
        name="dashboard",
    ),
    re_path(rf"^processes{_FACE}", views.show_processes, name="processes"),
    re_path(rf"^processes/{_KEY}{_FACE}", views.show_process, name="process"),
    re_path(rf"^metrics{_FACE}", views.show_metrics, name="metrics"),
    re_path(rf"^metrics/{_KEY}{_FACE}", views.show_metric, name="metric"),
    re_path(rf"^products{_FACE}", views.show_products, name="products"),
    re_path(rf"^products/{_KEY}{_FACE}", resources.show_product, name="product"),
    re_path(rf"^lineage/{_KEY}{_FACE}", lineage.show_lineage, name="lineage"),
    re_path(rf"^members/{_KEY}{_FACE}", members_view.show_members, name="members"),
    re_path(rf"^frames{_FACE}", views.show_frames, name="frames"),
    re_path(rf"^frames/{_KEY}{_FACE}", views.show_frame, name="frame"),
    re_path(rf"^shared/(?P<token>[\s\S]+?){_FACE}", links.show_shared, name="shared"),
    re_path(r"^links(?:\.(?P<face>json))?\Z", links.show_links, name="links"),
    re_path(r"^links/(?P<name>[\s\S]+)\Z", links.show_links, name="link"),
    re_path(r"^openapi\.json\Z", openapi.show_openapi, name="openapi"),
]
