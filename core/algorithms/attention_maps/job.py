"""What the model looks at while a picture is drawn, or while a given one is drawn again.

Sources: Hertz et al. (Prompt-to-Prompt), ICLR 2023, arXiv 2208.01626 (maps of words); Tumanyan et
al. (Plug-and-Play), CVPR 2023, arXiv 2211.12572 (components of self-attention features).
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from core.attention.layers import AttentionLayer, attention_layers
from core.attention.watcher import PictureWatcher, telling_layers
from core.contract.attention_maps import AttentionMapsRequest
from core.contract.errors import NotFound
from core.contract.pictures import File, Made, Picture, Surroundings
from core.contract.requests import settled
from core.diffusion.model import DiffusionModel
from core.diffusion.observing import observe, times_of, watched_row
from core.diffusion.showing import as_colours, captioned, heat_over, principal_components
from core.diffusion.words import token_positions
from core.inspection.heat import heat_maps, without_map

LATEST_NOISE = 0.6
"""Steps noisier than this are watched only where a request names them."""


def attention_maps(
    model: DiffusionModel, request: AttentionMapsRequest, around: Surroundings
) -> Generator[Made]:
    """Run the effective `request` and yield its maps.

    Artifacts: `image` if it was drawn here, `heat-…` a token, `query-…` a point, `pca-features-…`
    and `pca-maps-…` of three components each, `maps.npz`, and `overview` if a grid is asked for.
    Raises NotFound for layers that the model turns out not to have.
    """
    times = times_of(model, settled(request.sampling.steps))
    watcher = _watcher(model, request, times)
    seen = _seen(model, watcher, times)
    picture = observe(model, request, around, watcher.watch, {"watcher": watcher})
    if request.image is None:
        about = {"prompt": request.prompt, "seed": request.seed}
        yield Picture("image", "image", picture, about)
    shown = []
    for made in (
        *_of_tokens(model, request, around, watcher, picture),
        *_of_queries(request, watcher, picture),
        *_components(request, watcher, picture),
    ):
        made.metadata.update(seen)
        shown.append((made.stem, made.image))
        yield made
    yield File("maps.npz", "maps", "application/octet-stream", _arrays(model, request, watcher))
    if request.output.grid:
        sheet = captioned([("picture", picture), *shown])
        yield Picture("overview", "overview", sheet, {"pictures": len(shown) + 1})


def _watcher(
    model: DiffusionModel, request: AttentionMapsRequest, times: list[float]
) -> PictureWatcher:
    width, height = request.size
    latent_size = (height // model.latent_factor, width // model.latent_factor)
    if request.timesteps is None:
        late = [step for step, time in enumerate(times) if time <= LATEST_NOISE]
        steps = late or [len(times) - 1]
    else:
        steps = [
            min(range(len(times)), key=lambda step: abs(times[step] - wanted))
            for wanted in request.timesteps
        ]
    telling = telling_layers(model.unet, latent_size, request.resolution, all_grids=False)
    layers = telling if request.layers is None else _chosen(model, request.layers)
    return PictureWatcher(model.unet, latent_size, watched_row(request), steps, layers)


def _chosen(model: DiffusionModel, numbers: list[int]) -> list[AttentionLayer]:
    """Self- and cross-attention of the transformer blocks of these numbers, from 1."""
    layers = attention_layers(model.unet)
    count = len(layers) // 2
    if max(numbers) > count:  # a hub model with fewer than its family
        raise NotFound(f"{model.spec.name} has layers 1 to {count}, and no {max(numbers)}.")
    return [layer for i, layer in enumerate(layers) if i // 2 + 1 in numbers]


def _seen(model: DiffusionModel, watcher: PictureWatcher, times: list[float]) -> dict[str, Any]:
    """In words: when and where was watched."""
    names = [layer.name for layer in attention_layers(model.unet)]
    numbers = sorted({names.index(layer.name) // 2 + 1 for layer in watcher.layers})
    when = ", ".join(f"{times[step]:.2f}" for step in sorted(watcher.steps))
    which = f"layer{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
    return {"time": f"t = {when}", "layers": f"{which} of {len(names) // 2}"}


def _of_tokens(
    model: DiffusionModel,
    request: AttentionMapsRequest,
    around: Surroundings,
    watcher: PictureWatcher,
    picture: Image.Image,
) -> Iterator[Picture]:
    words, prompt = settled(request.tokens), settled(request.prompt)
    positions = {word: token_positions(model, prompt, word) for word in words}
    for word in words:
        if not positions[word]:
            around.warn(without_map(word))
    yield from heat_maps("heat", picture, watcher.text_map(watcher.grid), positions)


def _of_queries(
    request: AttentionMapsRequest, watcher: PictureWatcher, picture: Image.Image
) -> Iterator[Picture]:
    own, (rows, columns) = watcher.self_maps()[watcher.grid], watcher.grid
    for index, (x, y) in enumerate(request.queries):
        token = y * rows // picture.height * columns + x * columns // picture.width
        shown = heat_over(picture, own[token].reshape(rows, columns))
        ImageDraw.Draw(shown).ellipse((x - 2, y - 2, x + 2, y + 2), "white", "black")
        yield Picture(f"query-{index:02}", "query-map", shown, {"x": x, "y": y})


def _components(
    request: AttentionMapsRequest, watcher: PictureWatcher, picture: Image.Image
) -> Iterator[Picture]:
    sources = {"features": watcher.features(), "maps": watcher.self_maps()[watcher.grid]}
    for name, values in sources.items():
        found = principal_components(values, request.components).reshape(*watcher.grid, -1)
        for first in range(0, request.components, 3):
            shown = as_colours(found[..., first : first + 3], picture.size)
            about = {"components": f"{first + 1} to {first + 3}", "of": name}
            yield Picture(f"pca-{name}-{first // 3}", "components", shown, about)


def _arrays(model: DiffusionModel, request: AttentionMapsRequest, watcher: PictureWatcher) -> bytes:
    """Each grid's maps with the names of their axes beside them, as `axes_…`."""
    ids = model.pipeline.tokenizer(settled(request.prompt), truncation=True).input_ids
    tokens = model.pipeline.tokenizer.convert_ids_to_tokens(ids)
    arrays: dict[str, Any] = {"text_tokens": np.array(tokens, np.str_)}
    for (rows, columns), text in watcher.text_maps().items():
        arrays[f"text_{rows}x{columns}"] = text.numpy()
        arrays[f"axes_text_{rows}x{columns}"] = np.array(["y", "x", "text_token"])
    for (rows, columns), own in watcher.self_maps().items():
        arrays[f"self_{rows}x{columns}"] = own.reshape(rows, columns, rows, columns).cpu().numpy()
        axes = np.array(["query_y", "query_x", "key_y", "key_x"])
        arrays[f"axes_self_{rows}x{columns}"] = axes
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
