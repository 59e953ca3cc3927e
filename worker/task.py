"""The function RQ calls, by name."""

from __future__ import annotations

from worker.runner import Runner

_runner: Runner | None = None


def serve_with(runner: Runner) -> None:
    """Say which runner takes this process's jobs. RQ can pass a task only what is JSON."""
    global _runner
    _runner = runner


def run_next() -> None:
    """Run the job that is next. It never raises for a job's own failure: the record tells."""
    if _runner is None:
        raise RuntimeError("no runner was installed in this process")
    _runner.run_next()
