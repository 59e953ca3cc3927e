"""Where weights are: what a `models.toml` says of each network."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

AdapterKind = Literal["lora", "textual-inversion"]

SAFETENSORS = r"\.safetensors$"
LORA_FILE = "pytorch_lora_weights.safetensors"
WORD_FILE = "learned_embeds.safetensors"
"""As diffusers saves a LoRA and a textual inversion."""


class Source(BaseModel):
    """Where weights are, in safetensors.

    With a revision they are in a repository of the Hugging Face hub, which gives the same bytes
    ever after; without one they are here, beside the models file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(
        min_length=1,
        description="A repository of the hub, if there is a `revision`; else a file or folder, "
        "absolute or beside the models file. Pipelines are in diffusers layout.",
    )
    revision: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{40}$",
        description="The commit in the repository, all 40 digits. `attention-please models pin "
        "REPOSITORY` looks it up.",
    )


class Weights(Source):
    """The weights of one network, or of the networks of a pipeline."""

    variant: str | None = Field(
        default=None,
        description="Which files, such as `fp16` for `….fp16.safetensors`. Networks of a pipeline "
        "that have none of this variant are taken without.",
    )


class MergedLora(Source):
    """A LoRA that becomes part of the model when it is loaded."""

    weight_name: str = Field(
        default=LORA_FILE, pattern=SAFETENSORS, description="The file in a repository or folder."
    )
    scale: float = Field(default=1.0, description="How much of it.")

    @property
    def file(self) -> str:
        """Its file, where `source` is a repository or a folder."""
        return self.weight_name


class AdapterSource(Source):
    """A LoRA or a textual inversion that requests may ask for."""

    kind: AdapterKind = Field(description="A LoRA, or a word that was learned.")
    weight_name: str | None = Field(
        default=None,
        pattern=SAFETENSORS,
        description=f"The file in a repository or folder. Default: {LORA_FILE} or {WORD_FILE}.",
    )
    token: str | None = Field(
        default=None, description="What a prompt says for a textual inversion."
    )

    @model_validator(mode="after")
    def _has_a_token(self) -> Self:
        if (self.kind == "textual-inversion") != (self.token is not None):
            raise ValueError("a textual inversion needs a token, and a LoRA has none")
        return self

    @property
    def file(self) -> str:
        """Its file, where `source` is a repository or a folder."""
        return self.weight_name or (LORA_FILE if self.kind == "lora" else WORD_FILE)
