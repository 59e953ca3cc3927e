"""Load pipelines, run the denoising loop, and go between pixels and latents."""
