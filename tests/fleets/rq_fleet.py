"""Refreshes carried out by RQ's workers."""

import os

from redis import Redis
from rq import Queue

from kck_flow.refresh.executor import Bounded, entry

queue = Queue("flow", connection=Redis.from_url(os.environ["REDIS_URL"]))


class RQ(Bounded):
    name = "rq"

    def submit(self, slot, token, lane):
        queue.enqueue(entry, slot, token, ttl=int(self.lease), result_ttl=0, at_front=lane == 0)
