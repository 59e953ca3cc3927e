"""Cross-image appearance transfer: the shape of one picture in the appearance of another.

Source: Alaluf et al., "Cross-Image Attention for Zero-Shot Appearance Transfer", SIGGRAPH
2024, arXiv 2311.03335.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor

from core.algorithms.appearance_transfer.loop import (
    APPEARANCE,
    OUT,
    STRUCTURE,
    Masks,
    Transfer,
    transfer,
)
from core.attention.cross_image import SwapSchedule, decoder_grids
from core.attention.subjects import SubjectFinder, resized
from core.attention.watcher import Watcher
from core.contract.appearance_presets import MaskRule
from core.contract.appearance_ranges import Span
from core.contract.appearance_transfer import AppearanceTransferRequest, prompt_for
from core.contract.images import Upload
from core.contract.jobs import JobWarning, Progress
from core.contract.pictures import Picture, Surroundings
from core.contract.requests import MAX_SEED, settled
from core.diffusion.checkpoints import Stretch, stretch
from core.diffusion.ddpm_inversion import NoiseSpace, ddpm_inversion
from core.diffusion.decoding import decode_checked, is_black
from core.diffusion.denoise import Guidance
from core.diffusion.fitting import Fitted, fitted, side_by_side
from core.diffusion.free_u import free_u
from core.diffusion.images import encode_image
from core.diffusion.model import DiffusionModel
from core.diffusion.observing import times_of
from core.diffusion.previews import previewed
from core.diffusion.prompts import Conditioning, encode_prompts
from core.diffusion.words import token_positions
from core.inspection.inspector import Inspector, Seen

NAMES = {STRUCTURE: "structure", APPEARANCE: "appearance"}

WATCHED_STEPS = 3
"""Steps whose attention makes the masks, the last of them that of the first AdaIN."""


def appearance_transfer(
    model: DiffusionModel, request: AppearanceTransferRequest, around: Surroundings
) -> Generator[Picture]:
    """Run the effective `request` and yield its pictures.

    Artifacts: `output`, `structure-reconstruction`, `appearance-reconstruction`,
    `structure-mask`, `appearance-mask`, and `comparison` if a grid is asked for.
    Raises NumericsFailure where no picture comes out, in single precision neither.
    """
    given = _given(request, around)
    told = _Told(around, settled(request.steps) - settled(request.skip_steps))
    order = (STRUCTURE, APPEARANCE, STRUCTURE)  # the output begins as the structure
    text = encode_prompts(model, [given[row].text for row in order])
    with free_u(model.unet, settled(request.free_u)):
        spaces = {
            row: _inverted(model, request, around, one, text.rows([order.index(row)]), told)
            for row, one in given.items()
        }
        height, width = spaces[STRUCTURE].latents.shape[-2:]
        finder = _finder(model, request, given, (height, width), told.steps)
        inspector = _inspector(model, request, around)
        watcher = inspector.watcher(range(3))  # OUT, APPEARANCE, STRUCTURE
        rule: MaskRule = settled(request.mask_rule)
        seed = settled(request.seed)

        @cache
        def found() -> dict[int, Tensor]:
            return {row: finder.mask(row, rule, seed) for row in given}

        @cache
        def masks() -> Masks | None:
            return _usable(found(), (height, width), given, around)

        latents = transfer(
            model,
            torch.stack([spaces[row].latents[0] for row in order]),
            torch.stack([spaces[row].noise for row in order]),
            text,
            settled(request.steps),
            _settings(
                model,
                request,
                finder,
                watcher,
                masks if request.mask_adain else lambda: None,
                stretch(
                    model, around.checkpoints, "transfer", {"finder": finder, "watcher": watcher}
                ),
            ),
            told.denoised,
            previewed(model, around.preview),
        )
    areas = {NAMES[row]: round(float(mask.float().mean()), 4) for row, mask in found().items()}
    around.measure("subject_areas", areas)

    def seen(row: int, stem: str, picture: Image.Image) -> Iterator[Picture]:
        one = given[STRUCTURE if row == OUT else row]
        of_row = Seen(watcher, row)
        return inspector.shown(of_row, stem, one.text, picture, one.picture.box)

    yield from _pictures(model, request, given, latents, found(), told, seen)


@dataclass(frozen=True)
class _Given:
    """A picture of the request, at the model's size, and what it is said to show."""

    upload: str
    picture: Fitted
    domain: str
    text: str
    seed: int


def _given(request: AppearanceTransferRequest, around: Surroundings) -> dict[int, _Given]:
    """The pictures by the UNet row in which they are drawn again."""
    size = settled(request.width), settled(request.height)
    seed, domain = settled(request.seed), settled(request.appearance_domain)
    of_row = {
        STRUCTURE: (request.structure, request.domain, settled(request.prompt), seed),
        APPEARANCE: (request.appearance, domain, prompt_for(domain), (seed + 1) % (MAX_SEED + 1)),
    }
    given = {}
    for row, (image, shown, text, noise_seed) in of_row.items():
        assert isinstance(image, Upload)
        picture = fitted(around.image(image), size, request.fit)
        given[row] = _Given(image.upload, picture, shown, text, noise_seed)
    return given


def _inverted(
    model: DiffusionModel,
    request: AppearanceTransferRequest,
    around: Surroundings,
    given: _Given,
    text: Conditioning,
    told: _Told,
) -> NoiseSpace:
    """The picture in the noise space of the steps that will run; kept for later jobs."""
    steps, skip = settled(request.steps), settled(request.skip_steps)
    scale = settled(request.inversion_guidance_scale)

    size = given.picture.image.size
    parts = (size, request.fit, steps, skip, scale, request.free_u, given.seed, given.text)
    key = f"ddpm {given.upload} {parts}"

    def invert() -> bytes:
        latents = encode_image(model, given.picture.image)
        generator = torch.Generator("cpu").manual_seed(given.seed)
        noise = torch.randn((steps, *latents.shape[1:]), generator=generator)
        guidance = Guidance(text, encode_prompts(model, [""]), scale)
        batch = max(1, model.spec.max_batch // (2 if guidance.active else 1))
        going = stretch(model, around.checkpoints, f"inverting {key}", {})
        space = ddpm_inversion(model, latents, noise, guidance, skip, batch, told.inverted, going)
        return save({"latents": space.latents.cpu(), "noise": space.noise.cpu()})

    # No note: it is no reference that another technique could be given.
    kept = load(around.cached(key, invert, {}))
    return NoiseSpace(kept["latents"], kept["noise"])


def _finder(
    model: DiffusionModel,
    request: AppearanceTransferRequest,
    given: Mapping[int, _Given],
    latent_size: tuple[int, int],
    steps: int,
) -> SubjectFinder:
    """Watches the steps up to the first with AdaIN, or up to a fifth of them all without."""
    adain_steps = _steps(request.ranges.adain)
    first = adain_steps.start if adain_steps else settled(request.steps) // 5
    last = min(first, steps - 1)
    tokens = {row: token_positions(model, one.text, one.domain) for row, one in given.items()}
    watched = range(max(0, last + 1 - WATCHED_STEPS), last + 1)
    return SubjectFinder(model.unet, latent_size, tokens, watched)


def _settings(
    model: DiffusionModel,
    request: AppearanceTransferRequest,
    finder: SubjectFinder,
    watcher: Watcher,
    masks: Callable[[], Masks | None],
    going: Stretch,
) -> Transfer:
    """What the loop does. A model with one grid in its decoder takes the range of the fine one."""
    grids = decoder_grids(model.unet, finder.latent_size)
    ranges = (_steps(request.ranges.fine), _steps(request.ranges.coarse))
    return Transfer(
        schedule=SwapSchedule(
            dict(zip(grids, ranges, strict=False)), structure=_steps(request.ranges.structure)
        ),
        contrast=settled(request.contrast),
        swap_guidance=settled(request.swap_guidance_scale),
        adain=_steps(request.ranges.adain),
        masks=masks,
        watch=lambda step, plan: watcher.added(step, finder.watch(step, plan)),
        stretch=going,
    )


def _inspector(
    model: DiffusionModel, request: AppearanceTransferRequest, around: Surroundings
) -> Inspector:
    times = times_of(model, settled(request.steps))[settled(request.skip_steps) :]
    size = settled(request.width), settled(request.height)
    return Inspector(model, request.inspect, size, times, settled(request.seed), around.warn)


def _steps(span: Span | None) -> range:
    return range(int(settled(span).start), int(settled(span).end))


def _usable(
    found: Mapping[int, Tensor],
    latent_size: tuple[int, int],
    given: Mapping[int, _Given],
    around: Surroundings,
) -> Masks | None:
    """The masks at the latents' size; None, and a warning, where statistics can't be taken.

    A single place has no deviation, and a mask that is everywhere tells nothing apart.
    """
    masks = {row: resized(mask, latent_size) for row, mask in found.items()}
    usable = True
    for row, mask in masks.items():
        fault = "mask-empty" if int(mask.sum()) < 2 else "mask-full" if bool(mask.all()) else None
        if fault:
            usable = False
            where = "no part" if fault == "mask-empty" else "all"
            detail = (
                f'In the {NAMES[row]} {where} was taken for "{given[row].domain}", so that colours '
                "of whole pictures were matched. Name what it shows, or try another mask_rule."
            )
            around.warn(JobWarning(code=fault, detail=detail))
    return (masks[STRUCTURE], masks[APPEARANCE]) if usable else None


class _Told:
    """Turns batches and steps into progress of the whole job: 2 inversions, then the drawing."""

    def __init__(self, around: Surroundings, steps: int) -> None:
        self.report, self.steps = around.report, steps
        self.inversions = 0

    def inverted(self, done: int) -> None:
        self._tell("inverting", done, self.inversions * self.steps + done)
        self.inversions += done == self.steps

    def denoised(self, step: int, latents: Tensor) -> Tensor:
        self._tell("denoising", step + 1, 2 * (self.steps + step + 1))
        return latents

    def decoding(self) -> None:
        self._tell("decoding", self.steps, 4 * self.steps)

    def _tell(self, stage: str, done: int, units: int) -> None:
        """units: of UNet rows, of which drawing a step takes about twice an inversion's."""
        fraction = units / (4 * self.steps + 1)  # the 1 is for storing
        self.report(Progress(stage=stage, step=done, steps=self.steps, fraction=fraction))


def _pictures(
    model: DiffusionModel,
    request: AppearanceTransferRequest,
    given: Mapping[int, _Given],
    latents: Tensor,
    found: Mapping[int, Tensor],
    told: _Told,
    seen: Callable[[int, str, Image.Image], Iterator[Picture]],
) -> Iterator[Picture]:
    """seen: what was seen of a row, with the name and the picture it has."""
    told.decoding()
    dark = any(is_black(one.picture.image) for one in given.values())
    output = decode_checked(model, latents[OUT, None], may_be_black=dark)
    about = {"prompt": given[STRUCTURE].text, "seed": given[STRUCTURE].seed}
    yield from seen(OUT, "output", output)
    yield Picture("output", "output", given[STRUCTURE].picture.unframed(output), about)
    for row, one in given.items():
        told.decoding()
        again = decode_checked(model, latents[row, None], may_be_black=True)
        stem = f"{NAMES[row]}-reconstruction"
        yield from seen(row, stem, again)
        yield Picture(stem, "reconstruction", one.picture.unframed(again))
    for row, one in given.items():
        mask, size = found[row], one.picture.image.size
        shown = Image.fromarray((mask.byte() * 255).numpy()).resize(size, Image.Resampling.NEAREST)
        shown = one.picture.unframed(shown.convert("RGB"))
        yield Picture(f"{NAMES[row]}-mask", "mask", shown, {"subject": one.domain})
    if request.output.grid:
        shown_together = [given[STRUCTURE].picture.image, given[APPEARANCE].picture.image, output]
        yield Picture("comparison", "comparison", side_by_side(shown_together), {"pictures": 3})
