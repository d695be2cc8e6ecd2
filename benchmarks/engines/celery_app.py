"""The application that Celery's workers load."""

import os

from celery import Celery

from benchmarks.engines import jobs

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.task_ignore_result = True


@app.task(name="note")
def note(number: int) -> None:
    """Do nothing, and note when."""
    jobs.note(number)
