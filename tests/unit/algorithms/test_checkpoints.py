"""Every technique, cut off at a step and gone on with from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from core import catalog
from core.contract.jobs import Progress
from core.contract.pictures import Checkpoints, Surroundings
from core.diffusion.model import DiffusionModel
from core.execution import execute
from tests.tiny_models import with_extras

JOBS: list[tuple[str, dict[str, Any]]] = [
    ("style-aligned", {"prompts": [f"a cat {n}" for n in range(6)], "style": "neon"}),
    ("style-aligned", {"prompts": ["a cat", "a house"], "inspect": {"segments": 3}}),
    ("style-aligned", {"prompts": ["a cat", "a house"], "sharing": {"full": True}}),
    (
        "style-aligned",
        {"prompts": ["a cat"], "panorama": {"width": 128, "regions": []}, "adapters": []},
    ),
    (
        "style-aligned",
        {
            "prompts": ["a cat", "a boat"],
            "reference": {"image": {"upload": f"img_{1:032x}"}, "prompt": "a house"},
            "adapters": [{"name": "drawn"}],
            "control": {"type": "canny", "image": {"upload": f"img_{2:032x}"}},
        },
    ),
    (
        "appearance-transfer",
        {
            "structure": {"upload": f"img_{1:032x}"},
            "appearance": {"upload": f"img_{2:032x}"},
            "domain": "cat",
            "steps": 8,
            "skip_steps": 1,
            "inspect": {},
        },
    ),
    ("segmentation", {"prompt": "a cat and a house"}),
    ("segmentation", {"image": {"upload": f"img_{1:032x}"}, "labels": ["cat"], "method": "merge"}),
    ("attention-maps", {"prompt": "a cat", "queries": [[3, 3]]}),
]


PHOTOS = {
    f"img_{number:032x}": Image.effect_noise((64, 64), sigma).convert("RGB")
    for number, sigma in ((1, 90), (2, 30))
}


class Cut(Exception):
    """The worker is gone."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return with_extras(tmp_path_factory.mktemp("model"), "sd1")


def run(
    model: DiffusionModel, technique: str, body: dict[str, Any], around: Surroundings
) -> dict[str, str]:
    """Names and hashes of what a job makes."""
    known = catalog.technique(technique)
    request = known.request.model_validate({"seed": 7} | body).resolve(model.spec)
    return {file.name: file.sha256 for file, _ in execute(known, model, request, around)}


def surrounded(
    steps: list[Progress], cache: dict[str, bytes], checkpoints: Checkpoints
) -> Surroundings:
    def kept(key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
        if key not in cache:
            cache[key] = make()
        return cache[key]

    return Surroundings(
        steps.append, lambda image: PHOTOS[image.upload], kept, checkpoints=checkpoints
    )


@pytest.mark.parametrize(
    ("technique", "body"), JOBS, ids=[f"{name}-{n}" for n, (name, _) in enumerate(JOBS)]
)
def test_a_job_cut_off_at_a_step_goes_on_there_and_gives_the_same_bytes(
    model: DiffusionModel, technique: str, body: dict[str, Any]
) -> None:
    steps: list[Progress] = []
    saved: list[bytes] = []
    keep = Checkpoints(offer=lambda save: saved.append(save()))
    whole = run(model, technique, body, surrounded(steps, {}, keep))
    for cut in (1, len(saved) // 2, len(saved)):
        left: list[bytes] = []

        def leave(save: Callable[[], bytes], left: list[bytes] = left, cut: int = cut) -> None:
            left.append(save())
            if len(left) == cut:
                raise Cut

        cache: dict[str, bytes] = {}
        with pytest.raises(Cut):
            run(model, technique, body, surrounded([], cache, Checkpoints(offer=leave)))
        rest: list[Progress] = []
        earlier = Checkpoints(earlier=lambda left=left: left[-1:])  # type: ignore[misc]
        assert run(model, technique, body, surrounded(rest, cache, earlier)) == whole
        assert len(rest) <= len(steps) - (cut > 1)


def test_a_checkpoint_of_another_loop_or_another_model_is_not_gone_on_with(
    model: DiffusionModel,
) -> None:
    saved: list[bytes] = []
    keep = Checkpoints(offer=lambda save: saved.append(save()))
    run(model, "segmentation", {"prompt": "a cat"}, surrounded([], {}, keep))
    other = replace(model, fingerprint="another")
    steps: list[Progress] = []
    earlier = Checkpoints(earlier=lambda: saved[-1:])
    run(other, "segmentation", {"prompt": "a cat"}, surrounded(steps, {}, earlier))
    run(model, "style-aligned", {"prompts": ["a cat"]}, surrounded(steps, {}, earlier))
    assert [step.step for step in steps if step.stage == "denoising"].count(1) == 2
