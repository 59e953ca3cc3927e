"""StyleAligned: pictures of several prompts in one style, by shared self-attention.

Source: Hertz et al., "Style Aligned Image Generation via Shared Attention", CVPR 2024,
arXiv 2312.02133.

    job         a request to its pictures, chunk by chunk
    leaders     the references, and how each goes along beside the pictures
    plans       what is installed in the UNet for a `sharing`
    panorama    pictures larger than the model's, window by window
"""

from core.algorithms.style_aligned.job import style_aligned

__all__ = ["style_aligned"]
