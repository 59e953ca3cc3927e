"""The OpenAPI document, generated from the code.

python -m service.openapi            write openapi/openapi.json
python -m service.openapi --print    print it
python -m service.openapi --check    exit 1 if the file is not what the code says
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from core.contract.settings import Settings
from service.app import create_app

COMMITTED = Path(__file__).resolve().parents[1] / "openapi" / "openapi.json"


def text() -> str:
    """The document as it is committed: sorted, indented, with a final newline."""
    found = create_app(Settings()).openapi()
    return json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write, print or check the document. Returns the exit status."""
    match arguments:
        case []:
            COMMITTED.parent.mkdir(exist_ok=True)
            COMMITTED.write_text(text(), encoding="utf-8")
        case ["--print"]:
            sys.stdout.write(text())
        case ["--check"]:
            if not COMMITTED.exists() or COMMITTED.read_text(encoding="utf-8") != text():
                print(
                    "openapi/openapi.json is not what the code says. "
                    "Run `python -m service.openapi` and commit the change.",
                    file=sys.stderr,
                )
                return 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
