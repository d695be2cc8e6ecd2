from tests.stage.fixtures import house, theatre  # noqa: F401
