"""The task that django-tasks-db's workers run."""

from django_tasks import task

from benchmarks.engines import jobs


@task()
def note(number: int) -> None:
    """Do nothing, and note when."""
    jobs.note(number)
