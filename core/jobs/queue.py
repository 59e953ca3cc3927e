"""Delivery: job ids through an RQ queue, to whichever worker is free.

One queue is one pool of workers. A worker listens to exactly one, because only then does
RQ pop with BLMOVE, which keeps the id in an intermediate list if the worker dies with it.
"""

from __future__ import annotations

import secrets

from redis import Redis
from rq import Queue
from rq.intermediate_queue import IntermediateQueue

from core.contract.jobs import Job

# The task by name: the service must not import the worker.
TASK = "worker.task.run_job"


class JobQueue:
    """The queue of one pool."""

    def __init__(self, redis: Redis, pool: str) -> None:
        self.pool = pool
        # JSON, because with pickle write access to Redis would be code execution.
        self.rq = Queue(pool, connection=redis, serializer="json")

    def deliver(self, job: Job, *, first: bool = False) -> None:
        """Hand a recorded job to the workers; `high` priority, or `first`, goes to the front.

        A job may be delivered twice: claiming it is what happens once.
        """
        self.rq.enqueue_call(
            TASK,
            args=(job.id,),
            job_id=f"{job.id}-{secrets.token_hex(4)}",
            at_front=first or job.request["priority"] == "high",
            timeout=-1,  # deadlines are checked at every step, hangs by the watchdog
            result_ttl=0,
            failure_ttl=3600,
        )

    def waiting(self) -> list[str]:
        """Ids of the jobs in the queue, the next one first."""
        return [delivery.partition("-")[0] for delivery in self.rq.get_job_ids()]

    def withdraw(self, job_id: str) -> None:
        """Take a job that will not run out of the queue."""
        for delivery in self.rq.get_job_ids():
            if delivery.partition("-")[0] == job_id and (found := self.rq.fetch_job(delivery)):
                found.delete()

    def drop_stranded(self, job_id: str) -> None:
        """Remove a delivery that a worker popped and died with before it began."""
        stranded = IntermediateQueue(self.rq.key, self.rq.connection)
        for delivery in stranded.get_job_ids():
            if delivery.partition("-")[0] == job_id:
                stranded.remove(delivery)
                if found := self.rq.fetch_job(delivery):
                    found.delete()
