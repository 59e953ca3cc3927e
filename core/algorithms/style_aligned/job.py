"""A StyleAligned request to its pictures, a chunk at a time."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from core.algorithms.style_aligned.controls import control_maps
from core.algorithms.style_aligned.draw import Drawing, draw
from core.algorithms.style_aligned.leaders import Leader, leaders_of
from core.contract.jobs import Progress
from core.contract.pictures import File, Made, Picture, Report, Surroundings
from core.contract.requests import Prompt, settled
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.adapters import adapted
from core.diffusion.images import decode_image, grid
from core.diffusion.model import DiffusionModel
from core.diffusion.observing import times_of
from core.diffusion.previews import previewed
from core.inspection.inspector import Inspector


@dataclass(frozen=True)
class Target:
    """One picture to draw: its number among the prompts, and its prompt."""

    number: int
    prompt: Prompt


def style_aligned(
    model: DiffusionModel, request: StyleAlignedRequest, around: Surroundings
) -> Generator[Made]:
    """Draw the effective `request`, a chunk of prompts at a time, and yield each picture.

    Every chunk takes the references along again; they read nobody, so they come out the
    same. What an earlier attempt at the job finished is not yielded again, and a chunk that
    it finished is not drawn.
    Artifacts: `reference` (`reference-000` … for several), `control-000` … where edges or
    depths were found, `image-000` …, `grid` and `metadata.jsonl` if asked for.
    """
    leaders = leaders_of(model, request, around)
    chunks = _chunks(model, request)
    made: dict[str, Image.Image] = {}
    used = [(model.spec.adapters[use.name], use.weight) for use in request.adapters]
    with adapted(model, used) as adapters:
        drawing = Drawing(
            model,
            request,
            leaders,
            adapters,
            _inspector(model, request, around),
            previewed(model, around.preview),
            around.checkpoints,
        )
        for index, chunk in enumerate(chunks):
            if around.finished(_image_stem(chunk[-1].number if chunk else 0)):
                continue  # the last of a chunk is finished last
            progress = _ChunkProgress(
                around.report, index, len(chunks), settled(request.sampling.steps)
            )
            for picture in _chunk(drawing, around, chunk, progress):
                if request.output.grid and picture.kind in ("reference", "image"):
                    made[picture.stem] = picture.image
                if around.finished(picture.stem) is None:
                    yield picture
    if request.output.grid:
        stems = [_image_stem(number) for number in range(len(request.prompts))]
        stems = (_reference_stems(leaders) if request.draws_references_apart else []) + stems
        sheet = [made.get(stem) or settled(around.finished(stem)) for stem in stems]
        yield Picture("grid", "grid", grid(sheet), {"pictures": len(sheet)})
    if request.dataset:
        yield File("metadata.jsonl", "metadata", "application/jsonl", _metadata(request))


def _chunks(model: DiffusionModel, request: StyleAlignedRequest) -> list[list[Target]]:
    """The pictures that are drawn together; one empty chunk where only references are drawn."""
    targets = [Target(number, prompt) for number, prompt in enumerate(request.prompts)]
    targets = targets if request.draws_references_apart else targets[1:]
    room = 1 if request.panorama else model.spec.max_batch - 1
    return [targets[start : start + room] for start in range(0, len(targets), room)] or [[]]


def _chunk(
    drawing: Drawing, around: Surroundings, chunk: Sequence[Target], progress: _ChunkProgress
) -> Iterator[Picture]:
    """Draw a chunk; with the first one also the references are shown.

    What the model looked at in a picture comes before it: a picture that is finished lacks
    nothing.
    """
    model, request, leaders = drawing.model, drawing.request, drawing.leaders
    progress.begin()
    maps = control_maps(model, request, around, [target.number for target in chunk])
    prompts = [target.prompt for target in chunk]
    leader_too = progress.chunk == 0 and not request.draws_references_apart
    references, latents, seen = draw(
        drawing,
        prompts,
        maps,
        progress.denoised,
        name=f"chunk {[target.number for target in chunk]}",
        leader_too=leader_too,
    )
    if progress.chunk == 0:
        stems = _reference_stems(leaders)
        for stem, leader, picture in zip(stems, leaders, references, strict=True):
            progress.decoding()
            image = decode_image(model, picture)
            yield Picture(stem, "reference", image, leader.about)
        if leader_too:
            text = request.text_of(request.prompts[0])
            yield from drawing.inspector.shown(seen[0], _image_stem(0), text, image)
            yield Picture(_image_stem(0), "image", image, leaders[0].about)
    of_targets = seen[leader_too:]
    for index, target in enumerate(chunk):
        about: dict[str, Any] = {"prompt": request.text_of(target.prompt)}
        if request.control and request.control.preprocess:
            yield Picture(f"control-{target.number:03d}", "control", maps[index], about)
        progress.decoding()
        image = decode_image(model, latents[index : index + 1])
        about = about | {"seed": target.prompt.seed}
        stem = _image_stem(target.number)
        yield from drawing.inspector.shown(of_targets[index], stem, about["prompt"], image)
        yield Picture(stem, "image", image, about)


def _inspector(
    model: DiffusionModel, request: StyleAlignedRequest, around: Surroundings
) -> Inspector:
    times, seed = times_of(model, settled(request.sampling.steps)), settled(request.seed)
    return Inspector(model, request.inspect, request.picture_size, times, seed, around.warn)


def _image_stem(number: int) -> str:
    return f"image-{number:03d}"


def _reference_stems(leaders: Sequence[Leader]) -> list[str]:
    if len(leaders) == 1:
        return ["reference"]
    return [f"reference-{index:03d}" for index in range(len(leaders))]


def _metadata(request: StyleAlignedRequest) -> bytes:
    """A JSON line a picture, as the Hugging Face `imagefolder` loader reads them."""
    lines = [
        {
            "file_name": _image_stem(number) + request.output.suffix,
            "text": request.text_of(prompt),
            "seed": prompt.seed,
        }
        for number, prompt in enumerate(request.prompts)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


class _ChunkProgress:
    """Turns steps of one chunk into progress of the whole job."""

    def __init__(self, report: Report, chunk: int, chunks: int, steps: int) -> None:
        self.report, self.chunk, self.chunks, self.steps = report, chunk, chunks, steps

    def begin(self) -> None:
        self._tell("denoising", 0)

    def denoised(self, step: int, _: Tensor) -> None:
        self._tell("denoising", step + 1)

    def decoding(self) -> None:
        self._tell("decoding", self.steps)

    def _tell(self, stage: str, done: int) -> None:
        begun, total = self.chunk * self.steps, self.chunks * self.steps
        fraction = (begun + done) / (total + 1)  # the 1 is for storing
        self.report(Progress(stage=stage, step=begun + done, steps=total, fraction=fraction))
