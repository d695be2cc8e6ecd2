"""An app with one product, for ``kck_flow.testing.executors``: for the settings that a fleet is tested with."""
