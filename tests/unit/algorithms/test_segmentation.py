"""Segmentation on tiny random models of every family, and of maps whose parts are known."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

from core.algorithms.segmentation import segmentation
from core.contract.errors import JobCanceled
from core.contract.jobs import JobWarning, Progress
from core.contract.models import Family
from core.contract.pictures import File, Made, Picture, Surroundings, alone
from core.contract.segmentation import SegmentationRequest
from core.diffusion.model import DiffusionModel
from core.inspection.parts import parts_of
from core.inspection.segments import indexed, overlay, record

PHOTO = Image.effect_noise((80, 64), 90).convert("RGB")
UPLOAD = {"upload": "img_" + 32 * "0"}


def surroundings(**more: Any) -> Surroundings:
    return replace(alone(), image=lambda _: PHOTO, **more)


def run(model: DiffusionModel, around: Surroundings | None = None, **body: Any) -> dict[str, Made]:
    request = SegmentationRequest.model_validate({"seed": 5} | body).resolve(model.spec)
    made = segmentation(model, request, around or surroundings())
    return {one.stem if isinstance(one, Picture) else one.name: one for one in made}


def image(made: Made) -> Image.Image:
    assert isinstance(made, Picture)
    return made.image


def document(made: Made) -> dict[str, Any]:
    assert isinstance(made, File)
    found: dict[str, Any] = json.loads(made.data)
    return found


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("method", ["clusters", "merge"])
def test_every_family_gives_all_artifacts_of_a_new_picture(
    family: Family, method: str, models: dict[Family, DiffusionModel]
) -> None:
    made = run(models[family], prompt="a cat or dog", method=method)
    wanted = "image segments overlay segments.json mask-cat mask-dog features"
    assert list(made) == wanted.split()
    assert image(made["segments"]).size == (64, 64)
    found = document(made["segments.json"])
    assert sum(segment["area"] for segment in found["segments"]) == 64 * 64
    assert [entry["label"] for entry in found["labels"]] == ["cat", "dog"]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_given_picture_is_inverted_once_and_shown_no_more(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    told: list[Progress] = []
    kept: dict[str, bytes] = {}

    def cached(key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
        assert not note  # no reference that another technique could be given
        return kept[key] if key in kept else kept.setdefault(key, make())

    around = surroundings(cached=cached, report=told.append)
    body = {"image": UPLOAD, "labels": ["cat"]}
    first = run(models[family], around, **body)
    assert "image" not in first
    assert [p.stage for p in told] == ["inverting"] * 4 + ["denoising"] * 4
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1
    told.clear()
    second = run(models[family], around, **body)
    assert {p.stage for p in told} == {"denoising"}
    assert document(first["segments.json"]) == document(second["segments.json"])


def test_without_labels_segments_have_no_names(models: dict[Family, DiffusionModel]) -> None:
    found = document(run(models["sd1"], image=UPLOAD)["segments.json"])
    assert found["labels"] == []
    assert {s["label"] for s in found["segments"]} == {None}
    assert {s["score"] for s in found["segments"]} == {None}


def test_scores_are_measures_and_a_label_that_is_nowhere_warns(
    models: dict[Family, DiffusionModel],
) -> None:
    warnings: list[JobWarning] = []
    measures: dict[str, Any] = {}
    around = surroundings(warn=warnings.append, measure=measures.__setitem__)
    cut_off = "a b c d e f g h i j k l m n o p cat"
    run(models["sd1"], around, prompt=cut_off, labels=["cat"])
    assert [warning.code for warning in warnings] == ["label-not-found"]
    assert "cut off" in warnings[0].detail
    assert measures["label_areas"] == {"cat": 0}
    assert abs(sum(segment["area"] for segment in measures["segments"]) - 1) < 0.01


def test_a_canceled_run_leaves_the_unet_as_it_found_it(
    models: dict[Family, DiffusionModel],
) -> None:
    unet = models["sd1"].unet
    before = dict(unet.attn_processors)

    def cancel(progress: Progress) -> None:
        if progress.step == 3:
            raise JobCanceled("enough")

    with pytest.raises(JobCanceled):
        run(models["sd1"], surroundings(report=cancel), prompt="a cat")
    assert all(unet.attn_processors[name] is p for name, p in before.items())


def known() -> tuple[torch.Tensor, torch.Tensor, np.ndarray[Any, np.dtype[np.uint8]]]:
    """Segments, text maps and a picture of a cat at the left and a dog at the right, on grass."""
    segments = torch.zeros(8, 8, dtype=torch.long)
    segments[2:6, 1:4], segments[2:6, 5:7] = 1, 2
    text = torch.full((8, 8, 4), 0.1)
    text[..., 1] += (segments == 1).float()
    text[..., 2:] += (segments == 2).float()[..., None]
    colours = torch.tensor([[40, 160, 60], [220, 60, 40], [40, 60, 200]])
    picture = colours[segments].repeat_interleave(4, 0).repeat_interleave(4, 1)
    return segments, text, picture.to(torch.uint8).numpy()


def test_known_parts_have_their_labels_exact_masks_and_coco_run_lengths() -> None:
    segments, text, picture = known()
    parts = parts_of(segments, text, {"cat": [1], "big dog": [2, 3], "cow": []}, 0.35, picture)
    assert [part.label for part in parts] == [None, "cat", "big dog"]
    truth = segments.repeat_interleave(4, 0).repeat_interleave(4, 1).numpy()
    assert np.array_equal(np.asarray(indexed(parts)), truth)
    found = json.loads(record(parts, ["cat", "big dog", "cow"], {}))
    cat = found["labels"][0]
    assert (cat["box"], cat["area"]) == ([4, 8, 12, 16], 192)
    assert np.array_equal(coco.decode(cat["rle"]), truth == 1)
    assert found["labels"][2]["segments"] == []
    assert found["labels"][2]["area"] == 0


def test_the_indexed_png_keeps_its_values_and_the_overlay_has_a_legend() -> None:
    segments, text, picture = known()
    parts = parts_of(segments, text, {"cat": [1]}, 0.35, picture)
    buffer = io.BytesIO()
    indexed(parts).save(buffer, "PNG")
    with Image.open(buffer) as again:
        assert again.mode == "P"
        assert set(np.unique(np.asarray(again))) == {0, 1, 2}
    shown = overlay(Image.fromarray(picture), parts)
    assert shown.width == 256
    assert shown.height > 256
