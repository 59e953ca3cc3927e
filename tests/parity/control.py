"""Shared attention with a ControlNet that acts on the targets only."""

from __future__ import annotations

import torch
from PIL import Image

from core.contract.weights import Weights
from core.diffusion.control import Control, active_steps, control_pixels
from core.diffusion.denoise import Guidance
from core.diffusion.prompts import Conditioning
from tests.parity.case import Case, Outputs
from tests.parity.style_aligned import load, named_outputs, shared_trajectory


@torch.inference_mode()
def controlnet_outputs(case: Case) -> Outputs:
    """Latents of the reference and of the targets under control, and what else is named."""
    model = load(case, "sdxl")
    source = Weights(source=str(case.models / "tiny-controlnet-sdxl"))
    model.spec.controls["canny"] = source
    network = model.controlnet("canny")
    given = case.inputs
    targets = case.document["num_images_per_prompt"]
    rows = [0] + [1] * targets
    positive = Conditioning(given["in.prompt_embeds"], given["in.pooled_prompt_embeds"])
    negative = Conditioning(
        given["in.negative_prompt_embeds"], given["in.negative_pooled_prompt_embeds"]
    )
    steps = case.document["num_inference_steps"]
    image = Image.fromarray(given["in.control_image"].numpy())
    outputs: Outputs = {}
    for variant, params in case.variants():
        active = active_steps(
            steps,
            params.get("control_guidance_start", 0.0),
            params.get("control_guidance_end", 1.0),
        )
        control = Control(
            network,
            control_pixels([image] * targets),
            params["controlnet_conditioning_scale"],
            active,
            prompted=False,
        )
        trajectory = shared_trajectory(
            model,
            params["style_aligned_args"],
            Guidance(positive.rows(rows), negative.rows(rows), params["guidance_scale"]),
            given["in.latents"],
            steps,
            control=control,
        )
        outputs |= named_outputs(case, variant, model, trajectory)
    return outputs
