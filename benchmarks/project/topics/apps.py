"""The app ``bench_topics``: apart from ``bench``, so that the other scenarios have no topics."""

from django.apps import AppConfig


class TopicsConfig(AppConfig):
    """Known to Django as ``bench_topics``."""

    name = "benchmarks.project.topics"
    label = "bench_topics"
