"""DDIM inversion: from a picture to the noise that draws it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from core.contract.images import Upload
from core.contract.pictures import Surroundings
from core.diffusion.checkpoints import UNBROKEN, Stretch, stretch
from core.diffusion.denoise import AfterStep, Guidance, predict
from core.diffusion.fitting import fitted
from core.diffusion.images import encode_image
from core.diffusion.model import DiffusionModel


def inverse_scheduler(model: DiffusionModel, steps: int) -> Any:
    """The model's schedule backwards: its timesteps rise from the picture to the noise.

    The noise of a step is predicted at the timestep that is being reached, on the latents
    before it: DDIM's approximation that consecutive latents are near each other.
    """
    from diffusers import DDIMInverseScheduler

    scheduler = DDIMInverseScheduler.from_config(model.pipeline.scheduler.config)
    scheduler.set_timesteps(steps, device=model.device)
    return scheduler


@torch.inference_mode()
def ddim_inversion(
    model: DiffusionModel,
    latents: Tensor,
    guidance: Guidance,
    steps: int,
    after_step: AfterStep = lambda step, latents: latents,
    stretch: Stretch = UNBROKEN,
) -> Tensor:
    """Run DDIM backwards (Song et al., ICLR 2021, section 4.3), from a picture to noise.

    latents: (1, channels, h, w) of the picture. Returns the whole trajectory,
    (steps + 1, channels, h, w), from the noise z_T down to the picture z_0: index i is where
    a denoising of as many steps stands before its step i.
    """
    scheduler = inverse_scheduler(model, steps)
    done, trajectory = stretch.resume([latents.to(model.device, model.dtype)])
    for step, timestep in enumerate(scheduler.timesteps[done:], start=done):
        stretch.reached(step, trajectory)
        predicted = predict(model, trajectory[-1], timestep, guidance)
        after = scheduler.step(predicted, timestep, trajectory[-1]).prev_sample
        trajectory.append(after_step(step, after))
    return torch.cat(trajectory[::-1])


def kept_trajectory(
    model: DiffusionModel,
    around: Surroundings,
    image: Upload,
    size: tuple[int, int],
    guidance: Guidance,
    steps: int,
    *,
    key: str,
    note: Mapping[str, Any],
    after_step: AfterStep,
) -> Tensor:
    """The trajectory of a given picture, cut to `size` (width, height) in pixels.

    (steps + 1, channels, h, w) on the model's device, as `ddim_inversion` gives it. It is kept
    under `key` for later jobs, and listed where there is a `note` (`Surroundings.cached`).
    """

    def invert() -> bytes:
        picture = fitted(around.image(image), size, "crop").image
        latents = encode_image(model, picture)
        going = stretch(model, around.checkpoints, f"inverting {key}", {})
        trajectory = ddim_inversion(model, latents, guidance, steps, after_step, going)
        return save({"trajectory": trajectory.cpu()})

    return load(around.cached(key, invert, note))["trajectory"].to(model.device)
