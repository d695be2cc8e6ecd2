"""Where Celery and Procrastinate look for an app's tasks by themselves: those of the executor in use."""

from .refresh.executor import load_tasks

load_tasks()
