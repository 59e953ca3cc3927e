"""Which diffusion models a deployment serves, read from a `models.toml`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.contract.errors import FieldError, InvalidRequest

Family = Literal["sd1", "sd2", "sdxl"]
ControlKind = Literal["canny", "depth"]
AdapterKind = Literal["lora", "textual-inversion"]

BUILT_IN_MODELS = Path(__file__).resolve().parents[2] / "models" / "models.toml"


class ControlSource(BaseModel):
    """A ControlNet of a model: a folder in diffusers layout, or a hub repository id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    revision: str | None = None
    variant: str | None = None


class AdapterSource(BaseModel):
    """A LoRA or a textual inversion of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: AdapterKind
    source: str = Field(description="A file or folder, or a hub repository id.")
    revision: str | None = None
    weight_name: str | None = Field(default=None, description="The file in a repository.")
    token: str | None = Field(
        default=None, description="What a prompt says for a textual inversion."
    )

    @model_validator(mode="after")
    def _has_a_token(self) -> Self:
        if (self.kind == "textual-inversion") != (self.token is not None):
            raise ValueError("a textual inversion needs a token, and a LoRA has none")
        return self


class ModelSpec(BaseModel):
    """One model: where its weights are, and what can be asked of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str = Field(description="A folder in diffusers layout, or a hub repository id.")
    revision: str | None = None
    variant: str | None = None
    family: Family
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="auto: float16 on a GPU, float32 elsewhere."
    )
    width: int = Field(gt=0, description="Default width in pixels.")
    height: int = Field(gt=0, description="Default height in pixels.")
    grid: int = Field(gt=0, description="Widths and heights are multiples of this, in pixels.")
    min_size: int = Field(gt=0, description="Smallest side in pixels.")
    max_size: int = Field(gt=0, description="Largest side in pixels.")
    steps: int = Field(default=50, gt=0)
    guidance_scale: float = Field(default=7.5, ge=1)
    max_batch: int = Field(
        default=8, ge=2, description="Pictures denoised at once, the reference included."
    )

    pool: str | None = Field(
        default=None,
        description="Jobs for it go to the workers of this pool. Default: the deployment's own.",
    )
    controls: dict[ControlKind, ControlSource] = {}
    depth_estimator: str | None = Field(
        default=None,
        description="A transformers depth model: a folder or a hub repository id.",
    )
    adapters: dict[str, AdapterSource] = {}

    def adapter_fault(self, name: str, weight: float) -> tuple[str, str] | None:
        """The field at fault and what is wrong with the use of an adapter, or None."""
        adapter = self.adapters.get(name)
        if adapter is None:
            known = ", ".join(sorted(self.adapters)) or "none"
            return "name", f"{self.name} has no such adapter. It has: {known}."
        if adapter.kind == "textual-inversion" and weight != 1:
            return "weight", "A textual inversion takes no weight but 1."
        return None

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

    By its configuration where the model is a folder; a hub repository that isn't here is taken
    to have as many as its family's own models.
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

    A `source` that lies beside the file is made absolute; any other is a hub id.
    Raises OSError, tomllib.TOMLDecodeError or pydantic.ValidationError for a bad file.
    """
    document = tomllib.loads(path.read_text())
    tables = document.pop("models", {})
    for name, table in tables.items():
        table["name"] = name
        parts = [*table.get("controls", {}).values(), *table.get("adapters", {}).values()]
        for part in (table, *parts):
            beside = path.parent / str(part.get("source", ""))
            if beside.exists():
                part["source"] = str(beside.resolve())
    return ModelCatalog.model_validate(document | {"models": tables})
