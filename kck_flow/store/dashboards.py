"""Dashboards that are stored as rows: read."""

from __future__ import annotations

from ..conf import conf
from ..dashboard import Dashboard, Panel, Section
from ..models import ConfiguredDashboard, ConfiguredPanel
from .session import caller


def visible() -> list[Dashboard]:
    """Return those that are not hidden, in order; without their panels."""
    # Every page names them: building Django's query would take longer than running it.
    found = caller(conf.DATABASES[0]).rows("configured_dashboards")
    names = ("slug", "label", "description", "permission", "position")
    return [_declared(ConfiguredDashboard(**dict(zip(names, row, strict=True))), []) for row in found]


def one(slug: str) -> Dashboard | None:
    """Return one with its panels, hidden ones left out; None where there is none."""
    row = ConfiguredDashboard._default_manager.using(conf.DATABASES[0]).filter(slug=slug).first()
    if row is None:
        return None
    sections: list[Section] = []
    for panel in ConfiguredPanel._default_manager.using(conf.DATABASES[0]).filter(
        dashboard=row, hidden=False
    ):
        if not sections or sections[-1].title != panel.section:
            sections.append(Section(panel.section, []))
        sections[-1].panels.append(Panel(panel.key, panel.show, **panel.options))
    return _declared(row, sections)


def _declared(row: ConfiguredDashboard, sections: list[Section]) -> Dashboard:
    made = Dashboard()
    made.label, made.description, made.position = row.label, row.description, row.position
    made.permission = row.permission or None
    made.slug = row.slug  # type: ignore[misc]
    made.sections = sections
    return made
