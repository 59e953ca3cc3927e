"""`python -m worker`: one supervised worker."""

from __future__ import annotations

from core.contract.settings import Settings
from worker.supervisor import main

if __name__ == "__main__":
    main(Settings())
