"""The application that Procrastinate's workers load; libpq's variables say where its database is."""

from procrastinate import App, PsycopgConnector

from benchmarks.engines import jobs

app = App(connector=PsycopgConnector())


@app.task(name="note")
def note(number: int) -> None:
    """Do nothing, and note when."""
    jobs.note(number)
