from django.apps import AppConfig


class BakeryConfig(AppConfig):
    name = "tests.commands.bakery"
    label = "bakery"
