"""Cross-image appearance transfer: `loop` is the paper's, `job` what a request makes of it."""

from core.algorithms.appearance_transfer.job import appearance_transfer
from core.algorithms.appearance_transfer.loop import Masks, Transfer, transfer

__all__ = ["Masks", "Transfer", "appearance_transfer", "transfer"]
