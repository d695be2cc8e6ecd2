"""The app ``bench_counted``: apart from ``bench``, so that the other scenarios capture nothing."""

from django.apps import AppConfig


class CountedConfig(AppConfig):
    """Known to Django as ``bench_counted``."""

    name = "benchmarks.project.counted"
    label = "bench_counted"
    default_auto_field = "django.db.models.BigAutoField"
