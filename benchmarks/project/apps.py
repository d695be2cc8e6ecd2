"""The app ``bench``: one model, and the primers of the bench."""

from django.apps import AppConfig


class BenchConfig(AppConfig):
    """Known to Django as ``bench``."""

    name = "benchmarks.project"
    label = "bench"
    default_auto_field = "django.db.models.BigAutoField"
