"""A loaded diffusion model: one diffusers pipeline, kept warm and never changed."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from safetensors import SafetensorError

from core.contract.errors import ModelUnavailable
from core.contract.models import ControlKind, ModelSpec
from core.contract.weights import AdapterSource, MergedLora, Weights

log = logging.getLogger(__name__)

_SAMPLES = 256
"""Values of each weight that go into a fingerprint, about."""


@dataclass(frozen=True)
class DiffusionModel:
    """Weights on a device. Techniques change nothing of it that they don't put back."""

    spec: ModelSpec
    pipeline: Any
    device: torch.device
    dtype: torch.dtype
    fingerprint: str
    """Tells one set of weights from another; in every recipe."""
    beside: dict[str, Any] = field(default_factory=dict)
    """Networks that go with it, loaded when first asked for."""

    def limited(self, pictures: int) -> Self:
        """The same model for at most so many pictures at once, 2 at the least."""
        most = min(self.spec.max_batch, max(2, pictures))
        return replace(self, spec=self.spec.model_copy(update={"max_batch": most}))

    @property
    def unet(self) -> Any:
        return self.pipeline.unet

    @property
    def vae(self) -> Any:
        return self.pipeline.vae

    def controlnet(self, kind: ControlKind) -> Any:
        """Its ControlNet of a kind that its spec has. Raises ModelUnavailable."""
        if kind not in self.beside:
            self.beside[kind] = _load_controlnet(self.spec.controls[kind], self.device, self.dtype)
        return self.beside[kind]

    def depth_estimator(self) -> Any:
        """Its depth model, as a transformers pipeline. Raises ModelUnavailable."""
        if "depth-estimator" not in self.beside:
            if self.spec.depth_estimator is None:
                raise ModelUnavailable(f"{self.spec.name} has no depth model.")
            self.beside["depth-estimator"] = _load_depth_estimator(
                self.spec.depth_estimator, self.device
            )
        return self.beside["depth-estimator"]

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
    """Load the pipeline of `spec` onto `device`, from files of this machine alone, in safetensors.

    Sampling is DDIM as StyleAligned uses it: the model's own betas and prediction type, no
    clipping, and the last step towards the first alpha; with trailing timesteps towards the clean
    picture, as distilled models want it. Raises ModelUnavailable.
    """
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    dtype = _dtype(spec, device)
    # What no technique here looks at is not loaded.
    parts: dict[str, Any] = {"feature_extractor": None, "image_encoder": None}
    if spec.family == "sdxl":
        pipeline_class = StableDiffusionXLPipeline
    else:
        pipeline_class = StableDiffusionPipeline
        parts |= {"safety_checker": None, "requires_safety_checker": False}
    with unavailable(f"The weights of {spec.name} can't be loaded."), _without_advice():
        if spec.vae is not None:
            parts["vae"] = _load_vae(spec.vae, dtype)
        pipeline = pipeline_class.from_pretrained(**_files_of(spec, dtype), **parts)
        if spec.lora is not None:
            _merge(pipeline, spec.lora)
    spacing = spec.scheduler.timestep_spacing
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config,
        clip_sample=False,
        set_alpha_to_one=spacing == "trailing",
        timestep_spacing=spacing,
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    return DiffusionModel(spec, pipeline, device, dtype, _fingerprint(pipeline))


def _files_of(weights: Weights, dtype: torch.dtype) -> dict[str, Any]:
    """How diffusers is told to read weights that are here."""
    return {
        "pretrained_model_name_or_path": weights.source,
        "variant": weights.variant,
        "torch_dtype": dtype,
        "use_safetensors": True,
        "local_files_only": True,
    }


def _load_vae(weights: Weights, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(**_files_of(weights, dtype))


def _merge(pipeline: Any, lora: MergedLora) -> None:
    """Add a LoRA to the weights themselves, so that it costs no step anything."""
    install_lora(pipeline, lora, "merged")
    pipeline.fuse_lora(lora_scale=lora.scale)
    pipeline.unload_lora_weights()


def install_lora(pipeline: Any, lora: MergedLora | AdapterSource, name: str) -> None:
    """Put a LoRA into a pipeline under a name. Raises ValueError where nothing of it fits."""
    pipeline.load_lora_weights(
        lora.source,
        weight_name=lora.file,
        adapter_name=name,
        use_safetensors=True,
        local_files_only=True,
    )
    if not any(name in names for names in pipeline.get_list_adapters().values()):
        raise ValueError(f"nothing in {lora.source} fits this model")


@contextmanager
def _without_advice() -> Iterator[None]:
    """diffusers renames `torch_dtype`; the old name works in every version we support."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch_dtype` is deprecated")
        yield


@contextmanager
def unavailable(detail: str) -> Iterator[None]:
    """A block that loads weights: what is wrong with them raises ModelUnavailable."""
    try:
        yield
    except (OSError, ValueError, LookupError, SafetensorError) as error:
        log.error("%s %s", detail, error)  # callers are told of no path
        raise ModelUnavailable(detail) from error
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        log.error("%s It is of another architecture.", detail)
        raise ModelUnavailable(detail) from error


def _load_controlnet(weights: Weights, device: torch.device, dtype: torch.dtype) -> Any:
    from diffusers import ControlNetModel

    with unavailable("The weights of the ControlNet can't be loaded."), _without_advice():
        network = ControlNetModel.from_pretrained(**_files_of(weights, dtype))
    return network.to(device).eval()


def _load_depth_estimator(weights: Weights, device: torch.device) -> Any:
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation, pipeline

    with unavailable("The depth model can't be loaded."):
        network = AutoModelForDepthEstimation.from_pretrained(
            weights.source, variant=weights.variant, use_safetensors=True, local_files_only=True
        )
        processor = AutoImageProcessor.from_pretrained(weights.source, local_files_only=True)
    return pipeline(
        "depth-estimation", model=network.eval(), image_processor=processor, device=device
    )


def _dtype(spec: ModelSpec, device: torch.device) -> torch.dtype:
    if spec.dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, spec.dtype)
    return dtype


def _fingerprint(pipeline: Any) -> str:
    """A short hash of values spread over every weight; the same for every dtype and device.

    Hashing all of a large model would take longer than loading it.
    """
    digest = hashlib.sha256()
    for part in ("text_encoder", "text_encoder_2", "unet", "vae"):
        module = getattr(pipeline, part, None)
        for name, weight in sorted(module.state_dict().items()) if module is not None else ():
            values = weight.detach().flatten()
            spread = values[:: max(1, len(values) // _SAMPLES)].half().cpu()
            digest.update(f"{part}.{name} {tuple(weight.shape)}".encode())
            digest.update(spread.numpy().tobytes())
    return digest.hexdigest()[:16]
