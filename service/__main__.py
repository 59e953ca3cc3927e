"""`python -m service`: the HTTP front end alone."""

from __future__ import annotations

import sys

from core.contract.settings import Settings
from service.server import UnguardedAddress, serve

if __name__ == "__main__":
    try:
        serve(Settings())
    except UnguardedAddress as error:
        sys.exit(str(error))
