"""StyleAligned on tiny random models of every family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ImageOps

from core.algorithms.style_aligned import style_aligned
from core.contract.errors import InvalidRequest, JobCanceled, NumericsFailure
from core.contract.jobs import Progress
from core.contract.models import Family
from core.contract.pictures import Picture, alone
from core.contract.references import ImageReference
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.denoise import Guidance, denoise, guided, starting_noise
from core.diffusion.images import decode_image, encode_image
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts
from tests.unit.algorithms.drawing import PHOTO, PHOTO_ID, by_stem, draw, pictures


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_family_draws_a_set(family: Family, models: dict[Family, DiffusionModel]) -> None:
    pictures = draw(models[family], prompts=["a cat", "a house"], style="neon")
    assert [p.stem for p in pictures] == ["reference", "image-000", "image-001", "grid"]
    assert pictures[1].image.size == (64, 64)
    assert pictures[2].metadata == {"prompt": "a house, neon", "seed": 6}


def test_the_same_request_gives_the_same_pictures(sd1: DiffusionModel) -> None:
    one, other = (by_stem(draw(sd1, prompts=["a cat", "a house"])) for _ in range(2))
    assert all(np.array_equal(one[stem], other[stem]) for stem in one)


def test_the_reference_is_drawn_as_if_it_were_alone(sd1: DiffusionModel) -> None:
    alone = by_stem(draw(sd1, prompts=["a cat"]))
    among = by_stem(draw(sd1, prompts=["a cat", "a house", "a boat"]))
    assert np.abs(alone["image-000"] - among["image-000"]).max() <= 1
    assert np.array_equal(among["reference"], among["image-000"])


def test_a_reference_of_its_own_is_returned_beside_the_prompts(sd1: DiffusionModel) -> None:
    pictures = draw(sd1, prompts=["a cat", "a boat"], reference={"prompt": "a house"})
    assert [p.stem for p in pictures] == ["reference", "image-000", "image-001", "grid"]
    assert pictures[0].metadata["prompt"] == "a house"
    assert pictures[-1].metadata == {"pictures": 3}


def test_chunks_give_what_one_batch_gives(sd1: DiffusionModel) -> None:
    prompts = ["a cat", "a house", "a boat", "a tree", "a car", "a fish"]
    chunked = by_stem(draw(sd1, prompts=prompts))  # 4 at once: three chunks
    pair = by_stem(draw(sd1, prompts=[prompts[0], {"text": prompts[5], "seed": 10}]))
    assert len(chunked) == len(prompts) + 2
    assert np.abs(chunked["image-005"] - pair["image-001"]).max() <= 1


def test_sharing_changes_targets_and_not_the_reference(sd1: DiffusionModel) -> None:
    off = {"attention": False, "adain_queries": False, "adain_keys": False, "group_norm": False}
    shared = by_stem(draw(sd1, prompts=["a cat", "a house"]))
    apart = by_stem(draw(sd1, prompts=["a cat", "a house"], sharing=off))
    difference = np.abs(shared["image-000"] - apart["image-000"])
    assert difference.max() <= 1
    assert not np.array_equal(shared["image-001"], apart["image-001"])


@pytest.mark.parametrize(
    "sharing",
    [
        {"adain_values": True},
        {"adain_queries": False, "adain_keys": False},
        {"full": True},
        {"layers": 0.5},
        {"score_shift": 0.7},
        {"score_scale": 0.5},
        {"group_norm": False},
        {"attention": False},
    ],
)
def test_each_ablation_draws_another_picture(sd1: DiffusionModel, sharing: Any) -> None:
    base = by_stem(draw(sd1, prompts=["a cat", "a house"]))
    varied = by_stem(draw(sd1, prompts=["a cat", "a house"], sharing=sharing))
    assert not np.array_equal(base["image-001"], varied["image-001"])


def test_progress_only_grows_and_ends_below_one(sd1: DiffusionModel) -> None:
    told: list[Progress] = []
    request = StyleAlignedRequest.model_validate({"prompts": ["a"] * 6, "seed": 1})
    list(style_aligned(sd1, request.resolve(sd1.spec), alone(told.append)))
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.8 < fractions[-1] < 1
    assert {progress.stage for progress in told} == {"denoising", "decoding"}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_job_leaves_the_pipeline_bit_identical(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    model = models[family]
    noise = torch.cat([starting_noise(model, seed, 64, 64) for seed in (1, 2)])
    guidance = Guidance(encode_prompts(model, ["a", "b"]), encode_prompts(model, ["", ""]), 5.0)
    plain = denoise(model, noise, guided(model, guidance), steps=2)
    weights = {name: value.clone() for name, value in model.unet.state_dict().items()}
    draw(model, prompts=["a cat", "a house"], sharing={"group_norm": True})
    assert torch.equal(denoise(model, noise, guided(model, guidance), steps=2), plain)
    assert all(torch.equal(value, weights[name]) for name, value in model.unet.state_dict().items())


def test_a_canceled_run_leaves_the_pipeline_as_it_was(sd1: DiffusionModel) -> None:
    before = dict(sd1.unet.attn_processors)

    def cancel(progress: Progress) -> None:
        if progress.step == 2:
            raise JobCanceled("enough")

    request = StyleAlignedRequest.model_validate({"prompts": ["a", "b"]}).resolve(sd1.spec)
    with pytest.raises(JobCanceled):
        list(style_aligned(sd1, request, alone(cancel)))
    assert all(sd1.unet.attn_processors[name] is p for name, p in before.items())


def test_numbers_that_are_none_fail_as_numerics(sd1: DiffusionModel) -> None:
    weight = sd1.unet.conv_out.bias.data
    kept = weight.clone()
    try:
        weight.fill_(torch.nan)
        with pytest.raises(NumericsFailure):
            draw(sd1, prompts=["a cat"])
    finally:
        weight.copy_(kept)


def test_full_sharing_that_does_not_fit_one_batch_is_refused(sd1: DiffusionModel) -> None:
    with pytest.raises(InvalidRequest, match="at most 4"):
        draw(sd1, prompts=["a"] * 5, sharing={"full": True})


GIVEN = {"image": {"upload": PHOTO_ID}, "prompt": "a boat"}


def draw_after(model: DiffusionModel, reference: dict[str, Any], **body: Any) -> list[Picture]:
    """A job whose reference is `PHOTO`."""
    return draw(model, **{"prompts": ["a cat", "a house"], "reference": reference} | body)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_given_reference_comes_back_as_the_autoencoder_sees_it(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    model = models[family]
    pictures = draw_after(model, GIVEN)
    assert [p.stem for p in pictures] == ["reference", "image-000", "image-001", "grid"]
    assert pictures[0].metadata == {"prompt": "a boat"}
    seen = decode_image(model, encode_image(model, ImageOps.fit(PHOTO, (64, 64), 1)))
    difference = np.asarray(pictures[0].image) - np.asarray(seen)
    assert np.abs(difference).max() <= 1


def test_a_given_reference_changes_the_targets_the_more_the_stronger(
    sd1: DiffusionModel,
) -> None:
    faint, strong, later = (
        by_stem(draw_after(sd1, GIVEN | more))["image-000"]
        for more in ({"strength": 0.01}, {"strength": 20}, {"skip": 2})
    )
    plain = by_stem(draw_after(sd1, GIVEN, sharing={"attention": False}))["image-000"]
    assert np.abs(faint - plain).mean() < np.abs(strong - plain).mean()
    assert not np.array_equal(later, strong)


def test_the_inversion_is_made_once_and_told_as_a_stage(sd1: DiffusionModel) -> None:
    told: list[Progress] = []
    kept: dict[str, bytes] = {}

    def cached(key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
        assert note["prompt"] == "a boat"
        return kept[key] if key in kept else kept.setdefault(key, make())

    around = replace(alone(told.append), image=lambda _: PHOTO, cached=cached)
    request = StyleAlignedRequest.model_validate(
        {"prompts": ["a cat"] * 6, "seed": 5, "reference": GIVEN}
    ).resolve(sd1.spec)
    first = by_stem(pictures(style_aligned(sd1, request, around)))
    assert [p.stage for p in told].count("inverting") == sd1.spec.steps
    told.clear()
    second = by_stem(pictures(style_aligned(sd1, request, around)))
    assert "inverting" not in {p.stage for p in told}
    assert all(np.array_equal(first[stem], second[stem]) for stem in first)


def test_defaults_for_a_given_reference_are_the_papers(models: Any) -> None:
    spec = models["sdxl"].spec.model_copy(update={"guidance_scale": 5.0, "steps": 50})
    request = StyleAlignedRequest.model_validate({"prompts": ["a"], "reference": GIVEN})
    effective = request.resolve(spec)
    assert isinstance(effective.reference, ImageReference)
    assert (effective.reference.strength, effective.reference.skip) == (2.0, 5)
    assert (effective.sampling.guidance_scale, effective.sharing.group_norm) == (10.0, True)


def test_a_skip_beyond_the_steps_is_refused(sd1: DiffusionModel) -> None:
    with pytest.raises(InvalidRequest, match="/reference/skip"):
        draw_after(sd1, GIVEN | {"skip": 4})
