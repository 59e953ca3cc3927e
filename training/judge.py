"""The judge: a small network that says what a picture of the world shows.

It measures the built-in model, and tests ask it whether a technique kept a subject or a style.
Images are float (n, 3, h, w) in [0, 1] throughout.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from training.world import COLOUR_NAMES, STYLES, SUBJECTS


@dataclass(frozen=True)
class JudgeOptions:
    """Channels of the stages, each half as wide in space as the one before."""

    channels: tuple[int, ...] = (32, 64, 96, 128)


class JudgeNetwork(nn.Module):
    """Stages of two convolutions, pooled over space, and one linear head a question."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        widths = (3, *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(_convolution(before, after, 2), _convolution(after, after, 1))
            for before, after in zip(widths, channels, strict=False)
        )
        pooled = 2 * channels[-1]
        self.subjects = nn.Linear(pooled, len(SUBJECTS))
        # Textures are in the early stages: style reads the mean of every stage.
        self.styles = nn.Linear(sum(channels), len(STYLES))
        self.colours = nn.Linear(pooled, len(SUBJECTS) * len(COLOUR_NAMES))

    def features(self, images: Tensor) -> list[Tensor]:
        hidden, features = images * 2 - 1, []
        for stage in self.stages:
            hidden = stage(hidden)
            features.append(hidden)
        return features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits: subjects (n, 12), styles (n, 10), colour of each subject (n, 12, 8)."""
        features = self.features(images)
        last = features[-1]
        pooled = torch.cat([last.mean(dim=(2, 3)), last.amax(dim=(2, 3))], dim=1)
        textures = torch.cat([feature.mean(dim=(2, 3)) for feature in features], dim=1)
        colours = self.colours(pooled).view(-1, len(SUBJECTS), len(COLOUR_NAMES))
        return self.subjects(pooled), self.styles(textures), colours


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


@dataclass(frozen=True)
class Judge:
    """A trained network and the names of its classes, in the order of its probabilities."""

    network: JudgeNetwork
    subject_names: tuple[str, ...] = SUBJECTS
    style_names: tuple[str, ...] = STYLES
    colour_names: tuple[str, ...] = COLOUR_NAMES

    @torch.no_grad()
    def subjects(self, images: Tensor) -> Tensor:
        """(n, 12): the probability that each subject is present, independent of the others."""
        subjects: Tensor = self.network(images)[0]
        return subjects.sigmoid()

    @torch.no_grad()
    def styles(self, images: Tensor) -> Tensor:
        """(n, 10): probabilities that sum to one."""
        styles: Tensor = self.network(images)[1]
        return styles.softmax(dim=1)

    @torch.no_grad()
    def colours(self, images: Tensor) -> Tensor:
        """(n, 12, 8): for each subject, were it present, the probabilities of its colour."""
        colours: Tensor = self.network(images)[2]
        return colours.softmax(dim=2)

    @torch.no_grad()
    def features(self, images: Tensor) -> list[Tensor]:
        """The stages' outputs, (n, channels, h, w) from fine to coarse: 1/2, 1/4, 1/8, 1/16."""
        return self.network.features(images)


def save_judge(network: JudgeNetwork, options: JudgeOptions, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")
    config = asdict(options) | {
        "subjects": SUBJECTS,
        "styles": STYLES,
        "colours": COLOUR_NAMES,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_judge(folder: Path) -> Judge:
    """The judge of a folder, in float32 on the CPU."""
    config = json.loads((folder / "config.json").read_text())
    network = JudgeNetwork(tuple(config["channels"]))
    weights = load_file(folder / "model.safetensors")
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    )
    names = (tuple(config[name]) for name in ("subjects", "styles", "colours"))
    return Judge(network.eval().requires_grad_(False), *names)


def judge_loss(
    logits: tuple[Tensor, Tensor, Tensor], present: Tensor, style: Tensor, colours: Tensor
) -> Tensor:
    """present: float (n, 12). style: (n,). colours: (n, 12), -100 where the subject is absent."""
    subject_logits, style_logits, colour_logits = logits
    return (
        4 * functional.binary_cross_entropy_with_logits(subject_logits, present)
        + functional.cross_entropy(style_logits, style)
        + 0.5 * functional.cross_entropy(colour_logits.transpose(1, 2), colours)
    )
