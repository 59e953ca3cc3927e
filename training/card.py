"""The model card: figures from an evaluation, set in the text that explains them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.diffusion import DiffusionOptions
from training.evaluate import GUIDANCE, STEPS, Evaluation
from training.regions import CLUSTERS, TIMESTEPS
from training.run import progress_of, read_checkpoint
from training.world import BACKGROUNDS, COLOUR_NAMES, STYLES, SUBJECTS

SAMPLES = "samples.png"


@dataclass(frozen=True)
class Training:
    """What the run was: minutes by the clock and images seen, the latter over several epochs."""

    scenes: int
    vae_minutes: float
    vae_images: int
    denoiser_minutes: float
    denoiser_images: int
    denoiser_batch: int
    seed: int
    hardware: str
    note: str = ""


def read_training(scenes: int, vae: Path, run: Path, hardware: str, note: str) -> Training:
    """From what the trainers left in their folders; the texts are what they cannot know."""
    record = json.loads((vae / "training.json").read_text())
    state = read_checkpoint(run, torch.device("cpu"))
    options: DiffusionOptions = state["options"]
    progress = progress_of(state)
    return Training(
        scenes=scenes,
        vae_minutes=record["minutes"],
        vae_images=record["images"],
        denoiser_minutes=progress.seconds / 60,
        denoiser_images=progress.images,
        denoiser_batch=progress.images // progress.step,
        seed=options.seed,
        hardware=hardware,
        note=note,
    )


def save_samples(pictures: Tensor, path: Path, columns: int = len(SUBJECTS)) -> None:
    """A grid of (n, 3, h, w) pictures in [0, 1], row by row, as a PNG of 256 colours."""
    size = pictures.shape[-1]
    grid = pictures.reshape(-1, columns, 3, size, size).permute(0, 3, 1, 4, 2)
    pixels = (grid.reshape(-1, columns * size, 3).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).quantize(256).save(path, optimize=True)


def write_card(folder: Path, evaluation: Evaluation, training: Training) -> None:
    """MODEL_CARD.md for people and evaluation.json for programs."""
    figures = asdict(evaluation) | {"training": asdict(training)}
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / "MODEL_CARD.md").write_text(_card(evaluation, training))


def _card(evaluation: Evaluation, training: Training) -> str:
    return "\n\n".join(
        [
            _HEADER,
            _world(),
            "## Measured",
            _table(evaluation),
            _definitions(evaluation),
            f"## Samples\n\nNot picked: subjects across, styles down, seed 0.\n\n![]({SAMPLES})",
            _training(training),
            _LIMITS,
        ]
    )


_HEADER = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# tiny-world

A latent diffusion model of Stable Diffusion's architecture at a hundredth of its size, trained
from scratch on scenes that this repository draws. It exists so that techniques of attention
control can be seen, tested and measured on any machine, with known ground truth. 64 x 64 pixels,
latents of 4 x 16 x 16, 16 text tokens.

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("models/tiny-world")
pipe("a red cat on grass in neon style", height=64, width=64, num_inference_steps=25,
     guidance_scale=5).images[0]
```"""


def _world() -> str:
    return f"""## What it can draw

One or two of the subjects, each in a colour, on a background, in a style:

- subjects: {", ".join(SUBJECTS)}
- styles: {", ".join(STYLES)}
- colours: {", ".join(COLOUR_NAMES)}
- backgrounds: {", ".join(BACKGROUNDS)}

Every part but a subject may be left out. Prompts read best in the order of "a red cat and a blue
house on grass in flat style". Words beyond these fall into letters; training had some, at random,
so that they are passed over."""


def _table(evaluation: Evaluation) -> str:
    samples, regions = evaluation.samples, evaluation.regions
    rows: Sequence[tuple[str, str, str]] = (
        ("prompted subject, one-subject prompts", _percent(samples.subject), "95 %"),
        ("prompted style", _percent(samples.style), "95 %"),
        ("prompted colour (blueprints aside)", _percent(samples.colour), ""),
        ("both subjects, two-subject prompts", _percent(samples.both), "80 %"),
        ("at least one of the two", _percent(samples.either), ""),
        ("colour of each of the two, where present", _percent(samples.pair_colour), ""),
        ("nouns that attend to their own thing", _percent(regions.nouns), "95 %"),
        ("nouns whose peak lies in their thing", _percent(regions.peaks), ""),
        ("IoU of a thing and its noun's map", f"{regions.labelled_iou:.2f}", ""),
        ("IoU of clusters of self-attention", f"{regions.attention_iou:.2f}", ""),
        ("IoU of clusters of colour, for comparison", f"{regions.rgb_iou:.2f}", "0.05 lower"),
        ("PSNR of the autoencoder, held-out scenes", f"{evaluation.vae_psnr:.1f} dB", ""),
    )
    lines = [f"| {name} | {value} | {aim} |" for name, value, aim in rows]
    return "\n".join(["| | measured | aim |", "|---|---|---|", *lines])


def _definitions(evaluation: Evaluation) -> str:
    judge = evaluation.judge
    by_kind = "; ".join(
        f"{kind}: subjects {_percent(one.subjects)}, style {_percent(one.style)}, "
        f"colour {_percent(one.colour)}"
        for kind, one in judge.items()
    )
    return f"""Samples: DDIM with {STEPS} steps, guidance {GUIDANCE:g};
{evaluation.samples.singles} prompts with one subject (all subjects in all styles, colour and
background by chance) and {evaluation.samples.pairs} with two. They are judged by
`models/tiny-world-judge`, a small network that on held-out scenes gets right ({by_kind}). Its
verdict on samples is kinder than a person's.

Nouns: {evaluation.regions.regions} things of held-out scenes, noised to the timesteps
{", ".join(map(str, TIMESTEPS))}; the mean over timesteps, heads and the cross-attention layers of
16 and 8 tokens a side. A noun attends to its own thing if its map is on average higher inside that
thing's mask than inside the other thing's and than on the background. A map's region is where it
exceeds half of its peak.

Clusters: k-means with k = {CLUSTERS} on the rows of the self-attention of 16 tokens a side, and on
the mean colours of the same 256 cells; the clusters that lie mostly inside the things' masks,
against the masks."""


def _training(training: Training) -> str:
    return f"""## Training

`make tiny-world`, which is `python -m training all`, on {training.hardware}, seed {training.seed}:

1. {training.scenes:,} scenes are drawn, each with its caption and the exact mask of each thing.
2. The autoencoder: {training.vae_minutes:.0f} minutes, {training.vae_images:,} images; L1 of
   pixels, edges and two coarser scales in opponent colours, KL 1e-3; the last part for the decoder
   alone. Each latent channel is then given unit variance, so `scaling_factor` is 1.
3. The UNet and the text encoder together: {training.denoiser_minutes:.0f} minutes,
   {training.denoiser_images:,} images, batch {training.denoiser_batch}; noise prediction with
   min-SNR weighting, AdamW, bfloat16 autocast. Captions are worded anew at each visit and dropped
   for one in ten. Nouns, colours and backgrounds are tied to their places by a loss on the
   cross-attention maps, after TokenCompose (arXiv 2312.03626).

The weights are an exponential moving average, in half precision. The budgets are minutes by the
clock, so runs do not repeat bit for bit. {training.note}"""


_LIMITS = """## Limits

It knows nothing but its world: no text, no photographs, no composition beyond side by side. Fine
detail (eyes, thin lines) is soft, because the latents carry a quarter of the resolution. It is a
test bed and a demonstration, not an image generator.

The words of grounds (sea, grass, sand, snow) are read by the sky more than by the ground: in all 33
of 33 held-out scenes their heat is on average higher in the upper half of the picture. Segmentation
may therefore call the sky "grass" and the grass background. Words of things are not concerned.

Licence: Apache-2.0, the weights as the code. All training pictures are drawn by `training/`.
"""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
