"""The parts of a model, and which files of a repository each of them is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from core.contract.models import ModelSpec
from core.contract.weights import AdapterSource, MergedLora, Source, Weights

_COMPONENTS = {
    "sd1": ("unet", "text_encoder", "vae"),
    "sd2": ("unet", "text_encoder", "vae"),
    "sdxl": ("unet", "text_encoder", "text_encoder_2", "vae"),
}
_DESCRIPTIONS = ("model_index.json", "scheduler/*.json", "tokenizer*/*.json", "tokenizer*/*.txt")

_WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(\.(?P<variant>\w+))?(-\d+-of-\d+)?\.safetensors"
)
"""As diffusers and transformers name the weights of one network, whole or in shards."""


class WeightsMissing(Exception):
    """Weights are not here and can't be fetched; its message is for who runs the deployment.

    retryable: they may be later. final: the hub says so, not that it can't be asked.
    """

    def __init__(self, reason: str, *, retryable: bool = False, final: bool = False) -> None:
        super().__init__(reason)
        self.retryable = retryable
        self.final = final


@dataclass(frozen=True)
class Part:
    """One thing that a model loads."""

    name: str
    """What a message calls it, such as `adapter snail`."""
    weights: Source
    wanted: Callable[[Iterable[str]], list[str]]
    """Of a repository's files, those that it is. Raises WeightsMissing where some are missing."""
    moved: Callable[[ModelSpec, str], ModelSpec]
    """The spec with this part at another source, a path."""
    file: str | None = None
    """The one file that it is, where it is one."""


def parts_of(spec: ModelSpec) -> list[Part]:
    """Everything that a model may load, the pipeline first."""
    components = [name for name in _COMPONENTS[spec.family] if name != "vae" or spec.vae is None]
    found = [Part(spec.name, spec, lambda names: _pipeline(spec, components, names), _moved)]
    for name in ("vae", "lora", "depth_estimator"):
        weights: Weights | MergedLora | None = getattr(spec, name)
        if weights is not None:
            found.append(_beside(name, weights, (name,)))
    for group in ("controls", "adapters"):
        for name, weights in getattr(spec, group).items():
            found.append(_beside(f"{group[:-1]} {name}", weights, (group, name)))
    return found


def _beside(
    name: str, weights: Weights | MergedLora | AdapterSource, place: tuple[str, ...]
) -> Part:
    """A part that the spec names at `place`, an attribute or an entry of one."""

    def moved(spec: ModelSpec, source: str) -> ModelSpec:
        field, *entry = place
        here = weights.model_copy(update={"source": source, "revision": None})
        value = getattr(spec, field) | {entry[0]: here} if entry else here
        return spec.model_copy(update={field: value})

    if isinstance(weights, Weights):
        return Part(name, weights, lambda names: _network(weights, names), moved)
    file = weights.file
    return Part(name, weights, lambda names: _single(weights, file, names), moved, file)


def _moved(spec: ModelSpec, source: str) -> ModelSpec:
    return spec.model_copy(update={"source": source, "revision": None})


def _pipeline(spec: ModelSpec, components: Iterable[str], names: Iterable[str]) -> list[str]:
    names = list(names)
    if "model_index.json" not in names:
        raise WeightsMissing(f"{spec.source} is no pipeline in diffusers layout")
    found = [name for name in names if any(_is(name, pattern) for pattern in _DESCRIPTIONS)]
    for component in components:
        found += _network(spec, names, component)
    return found


def _network(weights: Weights, names: Iterable[str], folder: str = "") -> list[str]:
    """The weights of one network in a folder, and what describes it, as diffusers chooses them."""
    inside = [path for path in map(PurePosixPath, names) if path.parent == PurePosixPath(folder)]
    of_variant: dict[str | None, list[str]] = {}
    for path in inside:
        if match := _WEIGHTS.fullmatch(path.name):
            of_variant.setdefault(match["variant"], []).append(str(path))
    chosen = of_variant.get(weights.variant) or (of_variant.get(None) if folder else None)
    if not chosen:
        where = f"{weights.source}/{folder}" if folder else weights.source
        kind = f"{weights.variant} weights" if weights.variant else "weights"
        raise WeightsMissing(f"{where} has no {kind} in safetensors")
    return [str(path) for path in inside if path.suffix == ".json"] + chosen


def _single(weights: Source, file: str, names: Iterable[str]) -> list[str]:
    if file not in names:
        raise WeightsMissing(f"{weights.source} has no {file}")
    return [file]


def _is(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)
