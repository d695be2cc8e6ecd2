"""An app without migrations: its table is made by ``migrate --run-syncdb``."""
