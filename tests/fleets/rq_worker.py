"""A worker of RQ's in the test project: `rq worker` after Django is set up."""

import django

django.setup()

if __name__ == "__main__":
    from rq import Worker

    from tests.fleets.rq_fleet import queue

    Worker([queue], connection=queue.connection).work(logging_level="INFO")
