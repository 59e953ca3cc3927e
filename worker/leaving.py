"""How a supervisor tells its worker process to go: finish, then hand back, then no more."""

from __future__ import annotations

import signal

HAND_BACK = signal.SIGUSR1
"""After SIGTERM, which lets the job in hand end: keep it at its next step and hand it back."""

HAND_BACK_SECONDS = 8.0
"""How long a step, a checkpoint and a note in the record may take."""
