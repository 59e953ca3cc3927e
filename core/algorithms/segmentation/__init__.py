"""Self-segmentation: `parts` cuts and names, `showing` draws, `job` runs a request."""

from core.algorithms.segmentation.job import segmentation

__all__ = ["segmentation"]
