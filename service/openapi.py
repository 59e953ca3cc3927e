"""The OpenAPI document, generated from the code.

python -m service.openapi            write openapi/openapi.json
python -m service.openapi --print    print it
python -m service.openapi --check    exit 1 if the file is not what the code says, or breaks
                                     what openapi/released.json promised
python -m service.openapi --release  write openapi/released.json too
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from core.contract.settings import Settings
from service.app import create_app
from service.breaks import breaks

COMMITTED = Path(__file__).resolve().parents[1] / "openapi" / "openapi.json"
RELEASED = COMMITTED.with_name("released.json")


def text() -> str:
    """The document as it is committed: sorted, indented, with a final newline."""
    found = create_app(Settings()).openapi()
    return json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write, print or check the document. Returns the exit status."""
    match arguments:
        case []:
            _write(COMMITTED)
        case ["--release"]:
            _write(COMMITTED)
            _write(RELEASED)
        case ["--print"]:
            sys.stdout.write(text())
        case ["--check"]:
            faults = [*_faults()]
            print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
            return 1 if faults else 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def _write(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text(), encoding="utf-8")


def _faults() -> Iterator[str]:
    if not COMMITTED.exists() or COMMITTED.read_text(encoding="utf-8") != text():
        yield (
            "openapi/openapi.json is not what the code says. "
            "Run `python -m service.openapi` and commit the change."
        )
    missed = breaks(json.loads(RELEASED.read_text(encoding="utf-8")), json.loads(text()))
    if missed:
        yield "Callers of the last release would miss something; see openapi/README.md."
        yield from missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
