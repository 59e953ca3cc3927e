"""Appearance transfer on tiny random models of every family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.algorithms.appearance_transfer import Transfer, appearance_transfer, transfer
from core.attention.cross_image import SwapSchedule
from core.attention.subjects import SubjectFinder
from core.contract.appearance_transfer import AppearanceTransferRequest
from core.contract.errors import JobCanceled, NumericsFailure
from core.contract.images import Upload
from core.contract.jobs import JobWarning, Progress
from core.contract.models import Family
from core.contract.pictures import Picture, Surroundings, alone
from core.diffusion.ddpm_inversion import ddpm_inversion
from core.diffusion.denoise import Guidance
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts

PHOTOS = {
    "img_" + 32 * digit: Image.effect_noise((80, 64), sigma).convert("RGB")
    for digit, sigma in (("0", 90), ("1", 30))
}
STRUCTURE, APPEARANCE = PHOTOS
NAMES = [
    "output",
    "structure-reconstruction",
    "appearance-reconstruction",
    "structure-mask",
    "appearance-mask",
    "comparison",
]


def surroundings(**more: Any) -> Surroundings:
    def image(upload: Upload) -> Image.Image:
        return PHOTOS[upload.upload]

    return replace(alone(), image=image, **more)


def draw(
    model: DiffusionModel, around: Surroundings | None = None, **body: Any
) -> dict[str, Picture]:
    given = {
        "structure": {"upload": STRUCTURE},
        "appearance": {"upload": APPEARANCE},
        "domain": "cat",
        "seed": 5,
        "steps": 6,
        "skip_steps": 1,
        "swap_guidance_scale": 3.5,
    }
    request = AppearanceTransferRequest.model_validate(given | body).resolve(model.spec)
    pictures = appearance_transfer(model, request, around or surroundings())
    return {picture.stem: picture for picture in pictures}


def pixels(picture: Picture) -> np.ndarray[Any, Any]:
    return np.asarray(picture.image).astype(int)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_family_gives_all_artifacts(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    pictures = draw(models[family])
    assert list(pictures) == NAMES
    assert {pictures[name].image.size for name in NAMES[:-1]} == {(64, 64)}
    assert pictures["output"].metadata == {"prompt": "a photo of a cat", "seed": 5}
    assert "comparison" not in draw(models[family], output={"grid": False})


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_without_guidance_in_the_inversion_both_pictures_come_back(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    model, steps = models[family], 6
    text = encode_prompts(model, ["a cat"] * 3)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 1, 4, 16, 16, generator=generator)
    one = text.rows([0])
    spaces = [
        ddpm_inversion(
            model,
            picture,
            torch.randn(steps, 4, 16, 16, generator=generator),
            Guidance(one, one, 1),
        )
        for picture in pictures
    ]
    rows = [spaces[1], spaces[0], spaces[1]]
    latents = transfer(
        model,
        torch.stack([space.latents[0] for space in rows]),
        torch.stack([space.noise for space in rows]),
        text,
        steps,
        Transfer(SwapSchedule({(16, 16): range(2, 5)}), 1.67, 3.5, adain=range(3, 5)),
    )
    error = (latents[1:] - pictures[:, 0]).abs()
    assert error.max() < 0.4  # what the last step's noise map held, as in the inversion's test
    assert (latents[0] - pictures[1, 0]).abs().mean() > 2 * error.mean()


def test_the_same_request_gives_the_same_pictures(sd1: DiffusionModel) -> None:
    one, other = draw(sd1), draw(sd1)
    assert all(np.array_equal(pixels(one[name]), pixels(other[name])) for name in NAMES)


def test_without_swap_and_adain_the_output_is_the_structure(sd1: DiffusionModel) -> None:
    nowhere = {"start": 0, "end": 0}
    ranges = {"fine": nowhere, "coarse": nowhere, "adain": nowhere}
    pictures = draw(sd1, ranges=ranges)
    same = pixels(pictures["output"]) - pixels(pictures["structure-reconstruction"])
    assert np.abs(same).max() <= 1


@pytest.mark.parametrize(
    "knobs",
    [
        {"contrast": 4},
        {"swap_guidance_scale": 1},
        {"ranges": {"fine": {"start": 0, "end": 0}}},
        {"ranges": {"adain": {"start": 0, "end": 0}}},
        {"ranges": {"unit": "steps", "fine": {"start": 0, "end": 5}}},
        {"skip_steps": 3},
        {"free_u": "paper"},
        {"free_u": "diffusers"},
        {"inversion_guidance_scale": 5},
        {"prompt": "cat x"},
    ],
)
def test_each_knob_draws_another_picture(sd1: DiffusionModel, knobs: Any) -> None:
    assert not np.array_equal(pixels(draw(sd1)["output"]), pixels(draw(sd1, **knobs)["output"]))


def test_one_evaluation_of_three_rows_where_the_swap_is_off(
    sd1: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    forward = sd1.unet.forward

    def counted(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(sample))
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(sd1.unet, "forward", counted)
    ranges = {"unit": "steps", "fine": {"start": 1, "end": 3}}
    draw(sd1, ranges=ranges, inversion_guidance_scale=1)
    assert rows == [4, 1, 4, 1, 3, 4, 4, 3, 3]  # two inversions of five steps, then five steps


def found_everywhere(value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def mask(self: Any, row: int, rule: str, seed: int) -> torch.Tensor:
        return torch.full(self.places.grid, value)

    monkeypatch.setattr(SubjectFinder, "mask", mask)


@pytest.mark.parametrize(("value", "code"), [(False, "mask-empty"), (True, "mask-full")])
def test_a_mask_that_tells_nothing_warns_and_matches_whole_pictures(
    value: bool, code: str, sd1: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = draw(sd1, mask_adain=False)
    found_everywhere(value, monkeypatch)
    warnings: list[JobWarning] = []
    pictures = draw(sd1, surroundings(warn=warnings.append))
    assert [warning.code for warning in warnings] == [code, code]
    assert "structure" in warnings[0].detail
    assert np.array_equal(pixels(pictures["output"]), pixels(whole["output"]))


def test_a_domain_that_the_text_has_no_room_for_warns(sd1: DiffusionModel) -> None:
    warnings: list[JobWarning] = []
    draw(sd1, surroundings(warn=warnings.append), prompt="a b c d e f g h i j k l m n cat")
    assert [warning.code for warning in warnings][:1] == ["mask-empty"]


def test_inversions_are_made_once(sd1: DiffusionModel) -> None:
    told: list[Progress] = []
    kept: dict[str, bytes] = {}

    def cached(key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
        assert not note  # no reference that another technique could be given
        return kept[key] if key in kept else kept.setdefault(key, make())

    around = surroundings(cached=cached, report=told.append)
    first = draw(sd1, around)
    assert "inverting" in {progress.stage for progress in told}
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1
    told.clear()
    second = draw(sd1, around, contrast=4)
    assert {progress.stage for progress in told} == {"denoising", "decoding"}
    assert len(kept) == 2
    assert not np.array_equal(pixels(first["output"]), pixels(second["output"]))


def test_padding_gives_pictures_of_the_structures_shape_back(sd1: DiffusionModel) -> None:
    pictures = draw(sd1, fit="pad")
    assert {pictures[name].image.size for name in NAMES[:-1]} == {(64, 51)}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_job_leaves_the_unet_as_it_found_it(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    unet = models[family].unet
    processors = dict(unet.attn_processors)
    weights = {name: value.clone() for name, value in unet.state_dict().items()}
    attributes = [set(block.__dict__) for block in unet.up_blocks]
    draw(models[family], free_u="diffusers")
    assert all(unet.attn_processors[name] is p for name, p in processors.items())
    assert all(torch.equal(value, weights[name]) for name, value in unet.state_dict().items())
    assert [set(block.__dict__) for block in unet.up_blocks] == attributes


def test_a_canceled_run_leaves_the_unet_as_it_found_it(sd1: DiffusionModel) -> None:
    before = dict(sd1.unet.attn_processors)

    def cancel(progress: Progress) -> None:
        if progress.stage == "denoising" and progress.step == 2:
            raise JobCanceled("enough")

    with pytest.raises(JobCanceled):
        draw(sd1, surroundings(report=cancel), free_u="paper")
    assert all(sd1.unet.attn_processors[name] is p for name, p in before.items())
    assert not any(block._forward_pre_hooks for block in sd1.unet.up_blocks)


def test_numbers_that_are_none_fail_as_numerics(sd1: DiffusionModel) -> None:
    weight = sd1.unet.conv_out.bias.data
    kept = weight.clone()
    try:
        weight.fill_(torch.nan)
        with pytest.raises(NumericsFailure):
            draw(sd1)
    finally:
        weight.copy_(kept)
