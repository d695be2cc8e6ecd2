"""The app ``bench_frames``: apart from ``bench``, so that the other scenarios have no time frames."""

from django.apps import AppConfig


class FramesConfig(AppConfig):
    """Known to Django as ``bench_frames``."""

    name = "benchmarks.project.frames"
    label = "bench_frames"
