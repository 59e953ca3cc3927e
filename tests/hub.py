"""A hub on this machine, which answers what huggingface_hub asks the real one."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.web import respond, web_server


@dataclass
class Hub:
    """Repositories by their names, each a folder at one commit."""

    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    """Those that want a token."""
    asked: list[str] = field(default_factory=list)
    """The path of every request but HEAD, which asks for no file itself."""
    down: bool = False
    offline: bool = False
    """Whether those who are given its variables may not ask."""
    seconds_a_megabyte: float = 0.0
    url: str = ""

    def commit(self, repository: str) -> str:
        """Of a repository, 40 hexadecimal digits."""
        return hashlib.sha1(repository.encode()).hexdigest()

    def environment(self, cache: Path) -> dict[str, str]:
        """Variables by which another process asks this hub, and keeps what it gets in `cache`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": str(int(self.offline)),
        }

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path).strip("/")
        if request.command != "HEAD":
            self.asked.append(path)
        if self.down:
            respond(request, 503)
            return
        words = path.removeprefix("api/models/").split("/")
        repository = "/".join(words[:2])
        folder = self.repositories.get(repository)
        if folder is None:
            respond(request, 401, X_Error_Code="RepoNotFound")
        elif repository in self.gated and not request.headers.get("Authorization"):
            respond(request, 403, X_Error_Code="GatedRepo")
        elif words[3] not in (self.commit(repository), "main"):
            respond(request, 404, X_Error_Code="RevisionNotFound")
        elif words[2] == "tree":
            respond(request, 200, json.dumps(_tree(folder)).encode())
        elif words[2] == "revision":
            found = {"id": repository, "sha": self.commit(repository), "siblings": []}
            respond(request, 200, json.dumps(found).encode())
        else:
            self._send(request, folder / "/".join(words[4:]), self.commit(repository))

    def _send(self, request: BaseHTTPRequestHandler, file: Path, commit: str) -> None:
        data = file.read_bytes()
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        request.send_header("X-Repo-Commit", commit)
        request.end_headers()
        if request.command == "HEAD":
            return
        part = 100_000
        for start in range(0, len(data), part):
            request.wfile.write(data[start : start + part])
            time.sleep(self.seconds_a_megabyte * part / 1e6)


def _tree(folder: Path) -> list[dict[str, object]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        {
            "type": "file",
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
        }
        for path in files
    ]


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A hub without repositories."""
    hub = Hub()
    with web_server(hub.answer) as port:
        hub.url = f"http://127.0.0.1:{port}"
        yield hub
