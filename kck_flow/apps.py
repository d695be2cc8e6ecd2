"""The app: finds what is declared, watches what it depends on, checks both."""

from __future__ import annotations

from django.apps import AppConfig


class KckFlowConfig(AppConfig):
    name = "kck_flow"
    label = "kck_flow"
    verbose_name = "Data products"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import (
            checks,  # noqa: F401  (importing registers them)
            configured,
            deployment,  # noqa: F401  (likewise)
        )
        from .changes import capture, rows, tracking, triggers
        from .registry import registry
        from .store import install

        configured.connect()
        registry.discover()
        capture.connect()
        install.connect()
        triggers.connect()
        rows.connect()
        tracking.connect()
