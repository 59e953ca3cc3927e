"""MultiDiffusion with a shared reference: window by window, averaged where they overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from core.algorithms.style_aligned.leaders import Leader, Leading
from core.algorithms.style_aligned.panorama import following_windows
from core.diffusion.denoise import Guidance, Predictor, denoise, scheduler_for
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import Conditioning
from core.diffusion.windows import Window
from tests.parity.case import Case, Outputs
from tests.parity.style_aligned import layers_as, load, plain_leading, sharing_as


@torch.inference_mode()
def panorama_outputs(case: Case) -> Outputs:
    """Latents of the panorama and of the reference, and the first step's mean of each view.

    Columns that no window covers are zero after each step, as in the authors' code.
    """
    model = load(case, "sd1")
    outputs: Outputs = {}
    for variant, params in case.variants():
        made = _outputs_of(case, model, params)
        for name in case.named(variant):
            outputs[f"{variant}/out.{name}"] = made[name]
    return outputs


def _outputs_of(case: Case, model: DiffusionModel, params: Mapping[str, Any]) -> Outputs:
    steps, noise = case.document["num_inference_steps"], case.inputs["in.latents"]
    windows = [
        Window(top, left, bottom - top, right - left)
        for top, bottom, left, right in params["views_h0_h1_w0_w1"]
    ]
    covered = torch.zeros_like(noise)
    for window in windows:
        window.add(covered, 1.0)
    led: list[Tensor] = []
    leading, predictor = _predictor(case, model, params, windows)

    def after_step(_: int, latents: Tensor) -> Tensor:
        led.append(leading.latents[0])
        return latents * (covered > 0)

    latents = denoise(model, noise, predictor, steps, after_step)
    scheduler = scheduler_for(model, steps)
    first = scheduler.timesteps[0]
    means = []
    for window in windows:
        _, alone = _predictor(case, model, params, [window])
        predicted = window.crop(alone(0, first, noise))
        view = scheduler.step(predicted, first, window.crop(noise)).prev_sample
        means.append(view.mean(dim=(-2, -1)))
    return {
        "latents": latents,
        "reference_latent": leading.latents[0],
        "reference_trajectory": torch.cat(led),
        "first_step_view_means": torch.cat(means),
    }


def _predictor(
    case: Case, model: DiffusionModel, params: Mapping[str, Any], windows: Sequence[Window]
) -> tuple[Leading, Predictor]:
    args = params["style_aligned_args"]
    sharing, layers = sharing_as(args), layers_as(model.unet, args)
    guidance = Guidance(
        Conditioning(case.inputs["in.prompt_embeds"]),
        Conditioning(case.inputs["in.negative_prompt_embeds"]),
        params["guidance_scale"],
    )
    leader = Leader(guidance.rows(slice(0, 1)), case.inputs["in.reference_latent"])
    leading = plain_leading(model, leader, sharing, layers, case.document["num_inference_steps"])
    rest, per_batch = guidance.rows(slice(1, None)), params["view_batch_size"]
    return leading, following_windows(model, leading, rest, windows, per_batch)
