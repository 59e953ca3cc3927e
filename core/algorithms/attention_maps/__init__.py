"""Attention maps as pictures and numbers: `job` is what a request makes of them."""

from core.algorithms.attention_maps.job import attention_maps

__all__ = ["attention_maps"]
