"""Which diffusion models a deployment serves, read from a `models.toml`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.contract.errors import FieldError, InvalidRequest
from core.contract.weights import AdapterSource, MergedLora, Weights

Family = Literal["sd1", "sd2", "sdxl"]
ControlKind = Literal["canny", "depth"]

MAX_STEPS = 200
MAX_TRAILING_STEPS = 60
"""From 61 on, diffusers' trailing timesteps may end at -1, for which there is no noise level."""

BUILT_IN_MODELS = Path(__file__).resolve().parents[2] / "models" / "models.toml"


class Scheduler(BaseModel):
    """How the steps of a model lie between noise and picture.

    DDIM alone: inversions run it backwards, and a job that lost its worker goes on within it, for
    it keeps nothing from one step to the next.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ddim"] = Field(default="ddim", description="Which one.")
    timestep_spacing: Literal["leading", "trailing"] = Field(
        default="leading",
        description="`leading`, as in the papers; `trailing` begins at pure noise, which models "
        "that draw in few steps want.",
    )


class ModelSpec(Weights):
    """One model: where its weights are, and what can be asked of it."""

    name: str = Field(description="Of its table; what requests call it.")
    family: Family = Field(description="Which architecture it has.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="auto: float16 on a GPU, float32 elsewhere."
    )
    width: int = Field(gt=0, description="Default width in pixels.")
    height: int = Field(gt=0, description="Default height in pixels.")
    grid: int = Field(gt=0, description="Widths and heights are multiples of this, in pixels.")
    min_size: int = Field(gt=0, description="Smallest side in pixels.")
    max_size: int = Field(gt=0, description="Largest side in pixels.")
    steps: int = Field(default=50, gt=0, le=MAX_STEPS, description="Default number of steps.")
    max_steps: int = Field(
        default=MAX_STEPS, gt=0, le=MAX_STEPS, description="No request may ask for more."
    )
    guidance_scale: float = Field(
        default=7.5, ge=1, description="Default guidance; 1 is none, at half the time."
    )
    max_batch: int = Field(
        default=8, ge=2, description="Pictures denoised at once, the reference included."
    )

    pool: str | None = Field(
        default=None,
        description="Jobs for it go to the workers of this pool. Default: the deployment's own.",
    )
    warm: bool = Field(
        default=False,
        description="Workers of its pool load it before they are ready, not when the first job "
        "wants it. Where no model of a pool says so, the pool's first is.",
    )
    scheduler: Scheduler = Field(default=Scheduler(), description="How its steps lie.")
    vae: Weights | None = Field(default=None, description="Takes the place of the model's own.")
    lora: MergedLora | None = Field(
        default=None,
        description="Becomes part of the model, such as one that makes a few steps enough.",
    )
    controls: dict[ControlKind, Weights] = Field(
        default={}, description="ControlNets, for the `control` field of requests."
    )
    depth_estimator: Weights | None = Field(
        default=None, description="A depth model of transformers, for pictures given as `depth`."
    )
    adapters: dict[str, AdapterSource] = Field(
        default={}, description="For the `adapters` field of requests."
    )

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.steps > self.max_steps:
            raise ValueError(f"{self.steps} steps by default are more than {self.max_steps}")
        trailing = self.scheduler.timestep_spacing == "trailing"
        if trailing and self.max_steps > MAX_TRAILING_STEPS:
            raise ValueError(f"trailing timesteps want max_steps of {MAX_TRAILING_STEPS} at most")
        return self

    def adapter_fault(self, name: str, weight: float) -> tuple[str, str] | None:
        """The field at fault and what is wrong with the use of an adapter, or None."""
        adapter = self.adapters.get(name)
        if adapter is None:
            known = ", ".join(sorted(self.adapters)) or "none"
            return "name", f"{self.name} has no such adapter. It has: {known}."
        if adapter.kind == "textual-inversion" and weight != 1:
            return "weight", "A textual inversion takes no weight but 1."
        return None

    def steps_fault(self, steps: int) -> str | None:
        """What is wrong with a number of steps, or None."""
        if steps <= self.max_steps:
            return None
        return f"{self.name} draws in 1 to {self.max_steps} steps, not in {steps}."

    def size_fault(self, pixels: int) -> str | None:
        """What is wrong with a side of `pixels`, or None."""
        if self.min_size <= pixels <= self.max_size and pixels % self.grid == 0:
            return None
        return (
            f"{pixels} is not a size {self.name} can draw: "
            f"use a multiple of {self.grid} from {self.min_size} to {self.max_size} pixels."
        )


def transformer_blocks(spec: ModelSpec) -> int:
    """How many transformer blocks the UNet has, each with one layer of either attention.

    By its configuration where the model is a folder; one of the hub is taken to have as many as
    its family's own models.
    """
    config = Path(spec.source) / "unet" / "config.json"
    if not config.is_file():
        return {"sd1": 16, "sd2": 16, "sdxl": 70}[spec.family]
    return _blocks_in(json.loads(config.read_text()))


def _blocks_in(config: dict[str, Any]) -> int:
    """The transformer blocks of a UNet2DConditionModel, by its configuration in diffusers."""
    down, up = config["down_block_types"], config["up_block_types"]

    def each(name: str) -> list[Any]:
        """A number for each block of the encoder; one number stands for all."""
        given = config.get(name) or 1
        return list(given) if isinstance(given, list) else [given] * len(down)

    attentions, depths = each("layers_per_block"), each("transformer_layers_per_block")
    mirrored = config.get("reverse_transformer_layers_per_block") or depths[::-1]
    encoder = zip(down, attentions, depths, strict=True)
    # The decoder mirrors the encoder, with one attention more in each of its blocks.
    decoder = zip(up, (count + 1 for count in reversed(attentions)), mirrored, strict=True)
    blocks = sum(
        # A list is a number for each attention of the block.
        sum(depth) if isinstance(depth, list) else count * depth
        for kind, count, depth in (*encoder, *decoder)
        if "CrossAttn" in kind
    )
    middle = config.get("mid_block_type", "UNetMidBlock2DCrossAttn") or "none"
    return int(blocks + (depths[-1] if "CrossAttn" in middle else 0))


class ModelCatalog(BaseModel):
    """The models of a deployment, and the one used when a request names none."""

    model_config = ConfigDict(frozen=True)

    default: str
    models: dict[str, ModelSpec]

    @model_validator(mode="after")
    def _default_is_served(self) -> Self:
        if self.default not in self.models:
            raise ValueError(f"the default model {self.default!r} is not among the models")
        return self

    def pools(self, own: str) -> list[str]:
        """The pools that its jobs go to, in order. own: that of models that name none."""
        return sorted({spec.pool or own for spec in self.models.values()})

    def of_pool(self, pool: str) -> list[str]:
        """The models that workers of a pool hold, the default one first: those that name it.

        Where none does, it is the deployment's own pool, of those that name none.
        """
        named = [name for name, spec in self.models.items() if spec.pool == pool]
        others = [name for name, spec in self.models.items() if spec.pool is None]
        return sorted(named or others, key=lambda name: (name != self.default, name))

    def warm_in(self, pool: str) -> list[str]:
        """The models that workers of a pool load before they are ready."""
        models = self.of_pool(pool)
        return [name for name in models if self.models[name].warm] or models[:1]

    def resolve(self, name: str | None) -> ModelSpec:
        """The model called `name`, or the default. Raises InvalidRequest if there is none."""
        spec = self.models.get(self.default if name is None else name)
        if spec is None:
            known = ", ".join(sorted(self.models))
            raise InvalidRequest.of(
                [FieldError(pointer="/model", detail=f"There is no such model. Known: {known}.")]
            )
        return spec


def load_catalog(path: Path) -> ModelCatalog:
    """Read `models.toml`: `default = "name"` and one `[models.name]` table each.

    A source without a revision is a path, which is made absolute, from the file's own folder.
    Raises OSError, tomllib.TOMLDecodeError or pydantic.ValidationError for a bad file.
    """
    document = tomllib.loads(path.read_text())
    tables = document.pop("models", {})
    for name, table in tables.items():
        table["name"] = name
        for part in _with_sources(table):
            source = part.get("source")
            if source and isinstance(source, str) and "revision" not in part:
                part["source"] = str((path.parent / source).resolve())
    return ModelCatalog.model_validate(document | {"models": tables})


def _with_sources(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables of a model that name weights, its own first. What is no table, pydantic finds."""
    groups = [table.get(name) for name in ("controls", "adapters")]
    parts = [table.get(name) for name in ("vae", "lora", "depth_estimator")]
    parts += [part for group in groups if isinstance(group, dict) for part in group.values()]
    return [table, *(part for part in parts if isinstance(part, dict))]
