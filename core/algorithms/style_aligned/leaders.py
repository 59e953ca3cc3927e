"""The references: where each comes from, and how it goes along beside the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.algorithms.style_aligned.plans import Layers, following_plan, remembering_plan
from core.attention.control import AtStep, AttentionPlan, as_planned, attention_control
from core.attention.memory import Memory
from core.attention.shares import Shares
from core.contract.images import Upload
from core.contract.jobs import Progress
from core.contract.pictures import Surroundings
from core.contract.references import ImageReference, PromptReference
from core.contract.requests import Prompt, settled
from core.contract.style_aligned import Sharing, StyleAlignedRequest
from core.diffusion.adapters import Adapters
from core.diffusion.denoise import (
    AfterStep,
    Guidance,
    predict,
    scheduler_for,
    starting_noise,
)
from core.diffusion.inversion import kept_trajectory
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts

INVERSION_GUIDANCE = 2.0
"""The authors' guidance while a given picture is inverted; drawing takes more."""


@dataclass(frozen=True)
class Leader:
    """A reference: what is read for it, where it starts, what holds it.

    start: latents (1, channels, h, w). hold: called after each step.
    weight: beside other references. strength: factor of its keys' weight in the targets'
    attention. mask: where it is followed, (h, w) in pixels, 0 to 1; everywhere if absent.
    about: what its picture's metadata says.
    """

    guidance: Guidance
    start: Tensor
    hold: AfterStep = lambda step, latents: latents
    weight: float = 1.0
    strength: float = 1.0
    mask: Tensor | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def score_shift(self) -> float:
        return math.log(self.strength)


def leaders_of(
    model: DiffusionModel, request: StyleAlignedRequest, around: Surroundings
) -> list[Leader]:
    """The references of an effective request: those it names, or its first prompt.

    Given pictures are inverted, or read from where their inversion is kept.
    """
    named = [reference for _, reference in request.named_references()]
    size = settled(request.sampling.width), settled(request.sampling.height)
    if not named:
        return [_drawn(model, request, request.prompts[0], *size)]
    leaders = []
    for reference in named:
        if isinstance(reference, PromptReference):
            own = settled(reference.width), settled(reference.height)
            leader = _drawn(model, request, reference.prompt, *own)
        else:
            assert isinstance(reference, ImageReference)
            leader = _given(model, request, reference, around)
        mask = None if reference.mask is None else _mask(around, reference.mask)
        leaders.append(replace(leader, weight=reference.weight, mask=mask))
    return leaders


def _drawn(
    model: DiffusionModel, request: StyleAlignedRequest, prompt: Prompt, width: int, height: int
) -> Leader:
    text = request.text_of(prompt)
    noise = starting_noise(model, settled(prompt.seed), width, height)
    guidance = _guidance(model, text, prompt.negative, settled(request.sampling.guidance_scale))
    return Leader(guidance, noise, about={"prompt": text, "seed": prompt.seed})


def _given(
    model: DiffusionModel,
    request: StyleAlignedRequest,
    reference: ImageReference,
    around: Surroundings,
) -> Leader:
    """The leader that draws a given picture again, by its inversion; kept for later jobs."""
    size = (settled(reference.width), settled(reference.height))
    steps = settled(request.sampling.steps)
    image = reference.image
    assert isinstance(image, Upload)

    def told(step: int, latents: Tensor) -> Tensor:
        around.report(Progress(stage="inverting", step=step + 1, steps=steps, fraction=0.0))
        return latents

    width, height = size
    note = {"image": image.upload, "prompt": reference.prompt, "steps": steps}
    inverting = _guidance(model, reference.prompt, "", INVERSION_GUIDANCE)
    trajectory = kept_trajectory(
        model,
        around,
        image,
        size,
        inverting,
        steps,
        key=f"{image.upload} {size} {steps} {reference.prompt}",
        note=note | {"width": width, "height": height},
        after_step=told,
    )
    start, hold = follow(trajectory, settled(reference.skip))
    scale = settled(request.sampling.guidance_scale)
    guidance = _guidance(model, reference.prompt, "", scale)
    about = {"prompt": reference.prompt}
    return Leader(guidance, start, hold, strength=reference.strength, about=about)


def _guidance(model: DiffusionModel, text: str, negative: str, scale: float) -> Guidance:
    return Guidance(encode_prompts(model, [text]), encode_prompts(model, [negative]), scale)


def _mask(around: Surroundings, image: Any) -> Tensor:
    levels = np.asarray(around.image(image).convert("L"), dtype=np.float32)
    return torch.from_numpy(levels) / 255


def follow(trajectory: Tensor, skip: int) -> tuple[Tensor, AfterStep]:
    """How a reference is kept on an inverted picture's trajectory.

    trajectory: (steps + 1, channels, h, w), noise first, as `ddim_inversion` gives it.
    skip: the reference starts this many steps along, nearer to the picture than its noise
    is, and waits there; it is never farther from the picture than that.
    Returns its first latents (1, channels, h, w), and what to do after each step.
    """

    def hold(step: int, latents: Tensor) -> Tensor:
        return trajectory[max(skip, step) + 1][None].to(latents)

    return trajectory[skip][None], hold


def shares_of(leaders: Sequence[Leader], masks: Tensor | None) -> Shares:
    """How much pictures follow each leader.

    masks: as `masks_of` gives them, or others of (targets or 1, leaders, h, w).
    """
    weights = [leader.weight for leader in leaders]
    return Shares.even(weights) if masks is None else Shares.masked(masks, weights)


def masks_of(leaders: Sequence[Leader], height: int, width: int) -> Tensor | None:
    """Where each leader is followed, (1, leaders, height, width); None for all everywhere."""
    if all(leader.mask is None for leader in leaders):
        return None
    masks = [torch.ones(1, 1) if x.mask is None else x.mask for x in leaders]
    resized = [torch.nn.functional.adaptive_avg_pool2d(m[None], (height, width)) for m in masks]
    return torch.cat(resized)[None]


class Leading:
    """References on their way, one pass through the UNet a step each.

    After `advance` the memories hold what each is in that step.
    """

    def __init__(
        self,
        model: DiffusionModel,
        leaders: Sequence[Leader],
        sharing: Sharing,
        layers: Layers,
        steps: int,
        adapters: Adapters,
        watch: AtStep = as_planned,
    ) -> None:
        """watch: what is added to the first leader's pass."""
        self.model = model
        self.leaders = leaders
        self.sharing = sharing
        self.layers = layers
        self.adapters = adapters
        self.watch = watch
        self.scheduler = scheduler_for(model, steps)
        self.latents = [leader.start.to(model.device, model.dtype) for leader in leaders]
        self.memories = [Memory() for _ in leaders]
        self.plans = [remembering_plan(layers, sharing, memory) for memory in self.memories]

    def followed(self, masks: Tensor | None, halves: int) -> AttentionPlan:
        """What to install for targets that follow all references.

        masks: where they follow each, as `shares_of` takes them. halves: of the targets' batch.
        """
        return following_plan(
            self.layers,
            self.sharing,
            self.memories,
            shares_of(self.leaders, masks).on(self.model.device),
            [leader.score_shift for leader in self.leaders],
            halves=halves,
        )

    def state_dict(self) -> dict[str, Any]:
        """Where each reference is; the memories are written anew at every step."""
        return {"latents": self.latents}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where each reference was."""
        self.latents = list(state["latents"])

    def advance(self, step: int, timestep: Tensor) -> None:
        """Take every reference through one step."""
        for index, leader in enumerate(self.leaders):
            latents = self.latents[index]
            watch = self.watch if index == 0 else as_planned
            plan = watch(step, self.plans[index])
            with self.adapters.off(), attention_control(self.model.unet, plan):
                predicted = predict(self.model, latents, timestep, leader.guidance)
            after = self.scheduler.step(predicted, timestep, latents).prev_sample
            self.latents[index] = leader.hold(step, after)
