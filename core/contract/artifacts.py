"""The names of a job's files."""

from __future__ import annotations

import re

CHECKPOINT = "checkpoint.pt"
"""Beside the files of an attempt, and never published: how far its loop is."""

ARTIFACT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")

PREVIEW = "preview.jpg"
"""Beside the files of a running attempt, and never published: how far its pictures are."""
