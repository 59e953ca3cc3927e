"""Self-segmentation: `job` runs a request."""

from core.algorithms.segmentation.job import segmentation

__all__ = ["segmentation"]
