"""DDIM inversion of a picture, and generation that follows an inverted reference."""

from __future__ import annotations

import torch
from PIL import Image

from core.algorithms.style_aligned.leaders import follow
from core.diffusion.denoise import Guidance, predict
from core.diffusion.images import encode_image
from core.diffusion.inversion import ddim_inversion, inverse_scheduler
from core.diffusion.prompts import Conditioning
from tests.parity.case import Case, Outputs
from tests.parity.style_aligned import load, named_outputs, shared_trajectory


@torch.inference_mode()
def inversion_outputs(case: Case) -> Outputs:
    """`z0`, the free trajectory `zs`, and single steps `zs_forced_step` from given latents."""
    model = load(case)
    told_size = tuple(int(side) for side in case.inputs["in.time_ids"][:2])
    z0 = encode_image(model, Image.fromarray(case.inputs["in.image"].numpy()))
    outputs: Outputs = {}
    for variant, params in case.variants():
        text = case.inputs[f"{variant}/in.prompt_embeds_uncond_cond"]
        pooled = case.inputs[f"{variant}/in.text_embeds_uncond_cond"]
        negative, positive = (Conditioning(text[i, None], pooled[i, None]) for i in (0, 1))
        guidance = Guidance(
            positive, negative, params["guidance_scale"], told_size=(told_size[0], told_size[1])
        )
        steps = params["num_inference_steps"]
        scheduler = inverse_scheduler(model, steps)
        forced_from = case.inputs[f"{variant}/in.zs_forced"]
        forced = [
            scheduler.step(predict(model, z[None], t, guidance), t, z[None]).prev_sample
            for z, t in zip(forced_from, scheduler.timesteps.flip(0), strict=True)  # noise first
        ]
        made = {
            "z0": z0,
            "zs": ddim_inversion(model, z0, guidance, steps),
            "zs_forced_step": torch.cat(forced),
        }
        outputs |= {f"{variant}/out.{name}": tensor for name, tensor in made.items()}
    return outputs


@torch.inference_mode()
def transfer_outputs(case: Case) -> Outputs:
    """Final latents, and where named the trajectory, with the reference held to stored latents."""
    model = load(case)
    given = case.inputs
    parts = (
        Conditioning(given["in.prompt_embeds"], given["in.pooled_prompt_embeds"]),
        Conditioning(given["in.negative_prompt_embeds"], given["in.negative_pooled_prompt_embeds"]),
    )
    outputs: Outputs = {}
    for variant, params in case.variants():
        start, hold = follow(given["in.zts"], params["offset"])
        trajectory = shared_trajectory(
            model,
            params["style_aligned_args"],
            Guidance(*parts, params["guidance_scale"]),
            torch.cat([start, given["in.latents_before_reference"][1:]]),
            case.document["num_inference_steps"],
            hold,
        )
        outputs |= named_outputs(case, variant, model, trajectory)
    return outputs
