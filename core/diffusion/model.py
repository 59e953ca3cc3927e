"""A loaded diffusion model: one diffusers pipeline, kept warm and never changed."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.contract.errors import ModelUnavailable
from core.contract.models import ModelSpec

_ENDS = 2**16


@dataclass(frozen=True)
class DiffusionModel:
    """Weights on a device. Techniques change nothing of it that they don't put back."""

    spec: ModelSpec
    pipeline: Any
    device: torch.device
    dtype: torch.dtype
    fingerprint: str
    """Tells one set of weights from another; in every recipe."""

    @property
    def unet(self) -> Any:
        return self.pipeline.unet

    @property
    def vae(self) -> Any:
        return self.pipeline.vae

    @property
    def latent_factor(self) -> int:
        """Pixels a side of one latent."""
        return int(self.pipeline.vae_scale_factor)


def best_device(wanted: str = "auto") -> torch.device:
    """The device called `wanted`; `auto` is the GPU where there is one."""
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quiet_loading() -> None:
    """Keep the libraries' progress bars and advice out of this process's output."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def load_model(spec: ModelSpec, device: torch.device) -> DiffusionModel:
    """Load the pipeline of `spec` onto `device`, from its folder or from the hub's cache.

    Sampling is DDIM as StyleAligned uses it: the model's own betas and prediction type, no
    clipping, and the last step towards the first alpha. Raises ModelUnavailable.
    """
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    dtype = _dtype(spec, device)
    options: dict[str, Any] = {
        "torch_dtype": dtype,
        "use_safetensors": True,
        "revision": spec.revision,
        "variant": spec.variant,
    }
    if spec.family == "sdxl":
        pipeline_class = StableDiffusionXLPipeline
    else:
        pipeline_class = StableDiffusionPipeline
        options |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        with warnings.catch_warnings():
            # diffusers renames `torch_dtype`; the old name works in every version we support.
            warnings.filterwarnings("ignore", "`torch_dtype` is deprecated")
            pipeline = pipeline_class.from_pretrained(spec.source, **options)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"The weights of {spec.name} can't be loaded.") from error
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config,
        clip_sample=False,
        set_alpha_to_one=False,
        timestep_spacing="leading",
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        module.requires_grad_(False)
    return DiffusionModel(spec, pipeline, device, dtype, _fingerprint(spec))


def _dtype(spec: ModelSpec, device: torch.device) -> torch.dtype:
    if spec.dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, spec.dtype)
    return dtype


def _fingerprint(spec: ModelSpec) -> str:
    """A short hash: of name, size and both ends of each weight file, or of the hub revision.

    Hashing all bytes of a large model would take longer than loading it.
    """
    digest = hashlib.sha256()
    folder = Path(spec.source)
    if not folder.is_dir():
        digest.update(f"{spec.source}@{spec.revision}/{spec.variant}".encode())
        return digest.hexdigest()[:16]
    for path in sorted(folder.rglob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            digest.update(file.read(_ENDS))
    return digest.hexdigest()[:16]
