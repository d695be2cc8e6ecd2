"""The app of the probe."""

from __future__ import annotations

from django.apps import AppConfig


class ProbeConfig(AppConfig):
    name = "kck_flow.executors.probe"
    label = "kck_probe"
