"""What the built-in model is shown to look at is what its pictures show.

Few scenes and steps: `python -m benchmarks.segmentation` measures heat and segments over more.
"""

from __future__ import annotations

import io
from statistics import mean
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.appearance_pairs import make_pairs, overlap, thing_in
from benchmarks.appearance_transfer import subject_of
from benchmarks.segmentation import around_of, scene_of
from core.algorithms.appearance_transfer import appearance_transfer
from core.algorithms.attention_maps import attention_maps
from core.algorithms.style_aligned import style_aligned
from core.attention.watcher import enlarged
from core.contract.attention_maps import AttentionMapsRequest
from core.contract.pictures import File, Picture, alone
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.model import DiffusionModel
from training.judge import Judge
from training.masker import Masker
from training.scenes import Scene
from training.world import plain_caption

pytestmark = pytest.mark.timeout(600)

STEPS = 10
World = tuple[DiffusionModel, Judge]


def maps_of(model: DiffusionModel, one: Scene) -> tuple[dict[str, Any], list[str]]:
    """The arrays of a scene's job, and the names of its pictures; a query in each thing."""
    points = [middle_of(mask) for mask in one.masks]
    body = {
        "image": {"upload": "img_" + 32 * "0"},
        "prompt": plain_caption(one.content),
        "tokens": [thing.subject for thing in one.content.things],
        "queries": points,
        "sampling": {"steps": STEPS},
        "seed": 0,
    }
    request = AttentionMapsRequest.model_validate(body).resolve(model.spec)
    made = list(attention_maps(model, request, around_of(one)))
    file = next(thing for thing in made if isinstance(thing, File))
    stems = [thing.stem for thing in made if isinstance(thing, Picture)]
    return dict(np.load(io.BytesIO(file.data))), stems


def middle_of(mask: NDArray[np.bool_]) -> list[int]:
    """A point [x, y] of a mask, that nearest to its centre."""
    places = np.argwhere(mask)
    y, x = places[np.square(places - places.mean(axis=0)).sum(axis=1).argmin()]
    return [int(x), int(y)]


@pytest.fixture(scope="module")
def found(world: World) -> list[tuple[Scene, dict[str, Any], list[str]]]:
    scenes = [scene_of(index) for index in range(20, 26)]
    return [(one, *maps_of(world[0], one)) for one in scenes]


def test_heat_is_highest_in_the_named_thing(
    found: list[tuple[Scene, dict[str, Any], list[str]]],
) -> None:
    inside = []
    for one, arrays, stems in found:
        words = list(arrays["text_tokens"])
        for thing, mask in zip(one.content.things, one.masks, strict=True):
            assert f"heat-{thing.subject}" in stems
            heat = torch.from_numpy(arrays["text_16x16"][..., words.index(f"{thing.subject}</w>")])
            whole = enlarged(heat[..., None], mask.shape, "bicubic")[..., 0].numpy()
            inside.append(float(mask.flatten()[whole.argmax()]))
    assert mean(inside) > 0.8


def test_a_point_in_a_thing_looks_at_the_thing(
    found: list[tuple[Scene, dict[str, Any], list[str]]],
) -> None:
    gains = []
    for one, arrays, _ in found:
        own = arrays["self_16x16"]
        factor = len(one.masks[0]) // len(own)
        for mask in one.masks:
            x, y = (side // factor for side in middle_of(mask))
            covered = mask.reshape(len(own), factor, len(own), factor).mean(axis=(1, 3))
            gains.append(float((own[y, x] * covered).sum() / covered.mean()))
    # 1 is what a point would read of the thing if it looked everywhere alike.
    assert mean(gains) > 1.5
    assert min(gains) > 1


def test_the_arrays_have_the_axes_that_are_named(
    found: list[tuple[Scene, dict[str, Any], list[str]]],
) -> None:
    _, arrays, _ = found[0]
    sizes = {"text_token": arrays["text_16x16"].shape[-1]} | dict.fromkeys(
        ("y", "x", "query_y", "query_x", "key_y", "key_x"), 16
    )
    for name, read in (("text_16x16", (2,)), ("self_16x16", (2, 3))):
        assert [sizes[axis] for axis in arrays[f"axes_{name}"]] == list(arrays[name].shape)
        assert np.allclose(arrays[name].sum(axis=read), 1, atol=1e-4)
    assert len(arrays["text_tokens"]) <= arrays["text_16x16"].shape[-1]


def named(made: dict[str, Picture], stem: str, label: str) -> NDArray[np.bool_]:
    """The pixels of a picture's segments that are called `label`."""
    segments = made[f"{stem}-segments"]
    names = segments.metadata["segments"]
    return np.isin(np.asarray(segments.image), [i for i, name in enumerate(names) if name == label])


def test_segments_of_a_sets_own_pictures_are_the_things_they_show(
    world: World, masker: Masker
) -> None:
    subjects = ["cat", "house", "boat", "tree", "fish"]
    body = {
        "prompts": [f"a {subject}" for subject in subjects],
        "style": "in papercut style",
        "seed": 7,
        "sampling": {"steps": STEPS},
        "inspect": {"tokens": subjects, "segments": 5},
    }
    request = StyleAlignedRequest.model_validate(body).resolve(world[0].spec)
    made = {p.stem: p for p in style_aligned(world[0], request, alone()) if isinstance(p, Picture)}
    ious = []
    for number, subject in enumerate(subjects):
        stem = f"image-{number:03d}"
        shown = subject_of(masker, made[stem].image)
        ious.append(overlap(named(made, stem, subject), shown))
    assert mean(ious) > 0.55


def test_segments_of_a_transfers_pictures_are_where_their_subjects_are(world: World) -> None:
    model, ious = world[0], []
    for pair in make_pairs(3):
        request = pair.request({"inspect": {"segments": 5}}).resolve(model.spec)
        made = {p.stem: p for p in appearance_transfer(model, request, pair.around())}
        for name, one in (("structure", pair.structure), ("appearance", pair.appearance)):
            label = one.content.things[0].subject
            ious.append(overlap(named(made, f"{name}-reconstruction", label), thing_in(one)))
    assert mean(ious) > 0.55
