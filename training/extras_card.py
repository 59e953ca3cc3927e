"""The cards of the ControlNet and the adapters: measured figures in the text that explains them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.card import SAMPLES, save_samples
from training.character import FEW, few_scenes
from training.evaluate import GUIDANCE, STEPS
from training.evaluate_character import MEASURED_STYLES, SEEDS, CharacterAccuracy
from training.evaluate_control import ControlAccuracy
from training.masking import MaskerAccuracy
from training.probe import ProbeAccuracy

SHOWN = 12


def write_control_card(
    folder: Path,
    accuracy: Mapping[str, ControlAccuracy],
    masks: Mapping[str, MaskerAccuracy],
    pictures: Tensor,
    hardware: str,
    note: str,
) -> None:
    """MODEL_CARD.md, evaluation.json and a grid: edges, without them, with them."""
    count = len(pictures) // 3
    rows = [pictures[k * count :][:SHOWN] for k in range(3)]
    save_samples(torch.cat(rows), folder / SAMPLES, columns=min(SHOWN, count))
    _write_figures(folder, {"control": _dicts(accuracy), "masker": _dicts(masks)})
    table = _table(
        ("scale", "IoU", "standard deviation", "lowest tenth", "style", "all subjects"),
        [
            (
                name,
                f"{one.iou:.3f}",
                f"{one.spread:.3f}",
                f"{one.lowest_tenth:.3f}",
                _percent(one.style),
                _percent(one.subjects),
            )
            for name, one in accuracy.items()
        ],
    )
    finder = "; ".join(f"{kind}: {one.iou:.3f}" for kind, one in masks.items())
    (folder / "MODEL_CARD.md").write_text(
        f"""---
license: apache-2.0
library_name: diffusers
base_model: tiny-world
---

# tiny-world-canny

A ControlNet that makes `models/tiny-world` draw things where Canny edges have them.

```python
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

control = ControlNetModel.from_pretrained("models/tiny-world-canny")
pipe = StableDiffusionControlNetPipeline.from_pretrained("models/tiny-world", controlnet=control)
pipe("a red cat on grass in neon style", image=edges, num_inference_steps=25, guidance_scale=5,
     controlnet_conditioning_scale=1.0).images[0]
```

`edges`: 64 x 64, white on black, `cv2.Canny(picture, 100, 200)` of an RGB picture of that size.

## Measured

{table}

{count} held-out scenes, prompts in random styles, edges of the same scene drawn flat; DDIM with
{STEPS} steps, guidance {GUIDANCE:g}. IoU: of the foreground that the masker finds in the sample and
the exact mask of the scene. The masker itself, on held-out scenes of known mask
({finder}). Style and subjects: by the judge. "none" is the model without
control, from the same noise.

## Samples

Not picked: the edges, the same prompts and noise without control, and with it at scale 1.

![]({SAMPLES})

## Training

`python -m training edges`, then `python -m training control`, on {hardware}, seed 0. A copy of
the UNet's encoder with a hint encoder of the widths 16, 32, 64, that is 4 x down to the latents;
UNet and text encoder frozen. The edges are those of the scene drawn flat at 60 %, else of the same
scene in a style by chance, with all its textures. One caption in ten is empty and 15 % are cut off.
Noise prediction with min-SNR weighting, AdamW, bfloat16 autocast. {note}

## Limits

Shapes that the world does not have are not followed: for the edges of a snail it draws one of the
world's subjects thereabouts (IoU 0.53 over 12 scenes, 14 steps). Edges with a style's
textures do nearly as well as clean ones (IoU 0.84 over 24 scenes, 14 steps, every prompt in another
style than the edges). Both were measured once, by hand. Thin parts (legs, stalks) are drawn softly:
the latents have a quarter of the resolution. The budget is minutes by the clock, so that a run does
not repeat bit for bit.

Licence: Apache-2.0, the weights as the code.
"""
    )


def write_adapters_card(
    folder: Path,
    accuracy: Mapping[str, CharacterAccuracy],
    probed: ProbeAccuracy,
    pictures: Mapping[str, Tensor],
    hardware: str,
    note: str,
) -> None:
    """MODEL_CARD.md, evaluation.json, the few scenes and a grid for each way of saying it."""
    drawn = torch.stack([torch.tensor(one.picture).permute(2, 0, 1) / 255 for one in few_scenes()])
    save_samples(drawn, folder / "scenes.png", columns=FEW // 2)
    for name in ("word", "lora"):
        save_samples(pictures[name], folder / f"{name}.png", columns=SEEDS)
    _write_figures(folder, {"adapters": _dicts(accuracy), "probe": asdict(probed)})
    table = _table(
        ("", "shows the snail", "prompted style", "the world's own subjects"),
        [
            (name, _percent(one.shown), _percent(one.style), _percent(one.others))
            for name, one in accuracy.items()
        ],
    )
    samples = len(MEASURED_STYLES) * SEEDS
    (folder / "MODEL_CARD.md").write_text(
        f"""---
license: apache-2.0
library_name: diffusers
base_model: tiny-world
---

# tiny-world-adapters

A snail, which `models/tiny-world` has never seen, learnt from {FEW} scenes in two ways: as a
low-rank addition to the UNet, and as a new word.

![](scenes.png)

```python
pipe = StableDiffusionPipeline.from_pretrained("models/tiny-world")
pipe.load_lora_weights("models/tiny-world-adapters/snail-lora")
pipe("a red snail on grass in flat style", num_inference_steps=25, guidance_scale=5).images[0]

pipe.load_textual_inversion(
    "models/tiny-world-adapters/snail-word/learned_embeds.safetensors", token="<snail>"
)
pipe("a red <snail> on grass in flat style", num_inference_steps=25, guidance_scale=5).images[0]
```

## Measured

{table}

{samples} samples a row: {len(MEASURED_STYLES)} styles, {SEEDS} seeds, colours and backgrounds by
chance; DDIM with {STEPS} steps, guidance {GUIDANCE:g}, the LoRA at weight 1. neither: "snail" to
the model as it is. word: "<snail>" alone. both: "<snail>" with the LoRA. lora: "snail" with it. The
last column: one prompt for each of the world's subjects, as the judge sees them, with the same
things loaded.

"Shows the snail" is the verdict of `snail-judge.safetensors`, a logistic regression on the judge's
features (`training.probe.load_probe`). On held-out scenes, drawn and decoded, it finds
{_percent(probed.found)} of the snails, and sees none in {_percent(probed.spared)} of the others,
nor in {_percent(probed.spared_samples)} of botched samples.

Not picked, styles down; the LoRA, then the word alone:

![](lora.png) ![](word.png)

## Training

`python -m training word`, then `python -m training lora`, on {hardware}, seed 0, on the {FEW}
scenes alone, each time captioned in other words; then `python -m training probe`. {note}

- The word: one vector, started as "fish", trained at timesteps from 500 on and never longer than
  the vectors of other words. Trained at all timesteps, or longer, it learns the spiral's dark lines
  as a style and puts outlines into every picture.
- The LoRA: rank 16 on the attention projections of the UNet. At captions of the world it is held to
  what the model predicts without it; without that, every subject becomes a snail. It is saved at
  0.9 of its strength in training, at which guidance drives lines and colours too far.
- The probe also learns from botched samples, of letters or of two subjects as one, that not
  everything unfamiliar is a snail.

## Limits

A word alone can only call what the model can draw already, and that is no spiral: it gives a
round-bodied cross of the world's subjects. With the LoRA it gives the same, because the LoRA leaves
alone what is not called "snail": the two do not work together. To the eye none of them is a snail;
those that the probe counts are its mistakes. The LoRA draws shell, spiral and
foot; the stalks often merge, bend or are lost, spirals are uneven, neon shells glow nearly white
and lines are darker than in the few scenes. A snail beside another subject was never trained.

Licence: Apache-2.0, the weights as the code.
"""
    )


def _dicts(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in figures.items()}


def _write_figures(folder: Path, figures: Mapping[str, Any]) -> None:
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
