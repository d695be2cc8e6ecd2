"""The app that declares the metrics of the cache itself."""

from __future__ import annotations

from django.apps import AppConfig


class Monitoring(AppConfig):
    """Has no tables: its ``primers`` are all that there is."""

    name, label = "primers.monitoring", "kck_monitoring"
