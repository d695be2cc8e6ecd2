from django.apps import AppConfig


class MetersConfig(AppConfig):
    name = "tests.streams.meters"
    label = "meters"
    default_auto_field = "django.db.models.BigAutoField"
