"""Runs one picture through a model so that it can be watched: a new one, or a given one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
from PIL import Image
from torch import Tensor

from core.contract.images import Upload
from core.contract.jobs import Progress
from core.contract.observed import ObservedRequest
from core.contract.pictures import Surroundings
from core.contract.requests import settled
from core.diffusion.checkpoints import Stateful, stretch
from core.diffusion.decoding import decode_checked
from core.diffusion.denoise import (
    Guidance,
    denoise,
    predict,
    scheduler_for,
    starting_noise,
)
from core.diffusion.fitting import fitted
from core.diffusion.inversion import kept_trajectory
from core.diffusion.model import DiffusionModel
from core.diffusion.previews import previewed
from core.diffusion.prompts import encode_prompts

Watch = Callable[[int], AbstractContextManager[None]]
"""Given a step, counted from 0: what surrounds the UNet's call in it."""


def times_of(model: DiffusionModel, steps: int) -> list[float]:
    """How much of the way to pure noise each step is, 0 to 1; the first step's is the highest."""
    scheduler = scheduler_for(model, steps)
    whole: int = scheduler.config.num_train_timesteps
    return [float(timestep) / whole for timestep in scheduler.timesteps]


def watched_row(request: ObservedRequest) -> int:
    """The row of the UNet batch that reads the text: the last one."""
    guided = request.image is None and settled(request.sampling.guidance_scale) > 1
    return 1 if guided else 0


def observe(
    model: DiffusionModel,
    request: ObservedRequest,
    around: Surroundings,
    watch: Watch,
    seen: Mapping[str, Stateful] | None = None,
) -> Image.Image:
    """Draw the picture of an effective request, or run its given one again, under `watch`.

    seen: what `watch` fills, for checkpoints.
    Returns it in RGB at the request's size. A given picture is inverted without guidance, which
    brings it back best, and its inversion is kept for later jobs.
    Raises NumericsFailure where no picture comes out, and JobFailure where the job has to end.
    """
    run = _drawn if request.image is None else _given
    return run(model, request, around, watch, seen or {})


def _drawn(
    model: DiffusionModel,
    request: ObservedRequest,
    around: Surroundings,
    watch: Watch,
    seen: Mapping[str, Stateful],
) -> Image.Image:
    steps = settled(request.sampling.steps)
    positive = encode_prompts(model, [settled(request.prompt)])
    scale = settled(request.sampling.guidance_scale)
    guidance = Guidance(positive, encode_prompts(model, [""]), scale)

    def predicted(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        with watch(step):
            return predict(model, latents, timestep, guidance)

    def after(step: int, latents: Tensor) -> Tensor:
        _tell(around, "denoising", step + 1, steps, (step + 1) / (steps + 2))
        return latents

    noise = starting_noise(model, settled(request.seed), *request.size)
    expected = previewed(model, around.preview)
    going = stretch(model, around.checkpoints, "drawing", seen)
    latents = denoise(model, noise, predicted, steps, after, expected, going)
    _tell(around, "decoding", steps, steps, (steps + 1) / (steps + 2))
    return decode_checked(model, latents, may_be_black=True)


@torch.inference_mode()
def _given(
    model: DiffusionModel,
    request: ObservedRequest,
    around: Surroundings,
    watch: Watch,
    seen: Mapping[str, Stateful],
) -> Image.Image:
    assert isinstance(request.image, Upload)
    image = fitted(around.image(request.image), request.size, "crop").image
    steps, text = settled(request.sampling.steps), settled(request.prompt)
    encoded = encode_prompts(model, [text])
    guidance = Guidance(encoded, encoded, scale=1.0)

    def inverted(step: int, latents: Tensor) -> Tensor:
        _tell(around, "inverting", step + 1, steps, (step + 1) / (2 * steps + 1))
        return latents

    # No note: it is inverted without guidance, and so no reference for another technique.
    trajectory = kept_trajectory(
        model,
        around,
        request.image,
        request.size,
        guidance,
        steps,
        key=f"unguided {request.image.upload} {request.size} {steps} {text}",
        note={},
        after_step=inverted,
    )
    going = stretch(model, around.checkpoints, "watching", seen)
    done, _ = going.resume([trajectory[:0]])
    for step, timestep in enumerate(scheduler_for(model, steps).timesteps[done:], start=done):
        going.reached(step, [])
        with watch(step):
            predict(model, trajectory[step, None], timestep, guidance)
        _tell(around, "denoising", step + 1, steps, (steps + step + 1) / (2 * steps + 1))
    return image


def _tell(around: Surroundings, stage: str, step: int, steps: int, fraction: float) -> None:
    around.report(Progress(stage=stage, step=step, steps=steps, fraction=fraction))
