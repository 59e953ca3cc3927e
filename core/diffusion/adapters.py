"""LoRA and textual inversion: put into a pipeline for a while, and taken out again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.contract.errors import ModelUnavailable
from core.contract.models import AdapterSource
from core.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Adapters:
    """What is installed in a pipeline just now."""

    pipeline: Any
    has_lora: bool

    @contextmanager
    def off(self) -> Iterator[None]:
        """Run the block as if no LoRA were there."""
        if not self.has_lora:
            yield
            return
        self.pipeline.disable_lora()
        try:
            yield
        finally:
            self.pipeline.enable_lora()


@contextmanager
def adapted(
    model: DiffusionModel, adapters: Sequence[tuple[AdapterSource, float]]
) -> Iterator[Adapters]:
    """Run the block with `adapters`, each with its weight, in the model's pipeline.

    Source: Hu et al., "LoRA", ICLR 2022, by PEFT; Gal et al., "An Image is Worth One Word",
    ICLR 2023. On the way out the pipeline is as it was, also after an exception. Raises
    ModelUnavailable where one can't be loaded.
    """
    pipeline = model.pipeline
    loras = [(source, weight) for source, weight in adapters if source.kind == "lora"]
    words = [source for source, _ in adapters if source.kind == "textual-inversion"]
    try:
        try:
            for index, (source, _) in enumerate(loras):
                pipeline.load_lora_weights(
                    source.source,
                    revision=source.revision,
                    weight_name=source.weight_name,
                    adapter_name=f"lora-{index}",
                )
            for source in words:
                pipeline.load_textual_inversion(
                    source.source,
                    token=source.token,
                    revision=source.revision,
                    weight_name=source.weight_name,
                )
        except (OSError, ValueError) as error:
            raise ModelUnavailable("The weights of an adapter can't be loaded.") from error
        if loras:
            names = [f"lora-{index}" for index in range(len(loras))]
            pipeline.set_adapters(names, [weight for _, weight in loras])
        yield Adapters(pipeline, has_lora=bool(loras))
    finally:
        if loras:
            pipeline.unload_lora_weights()
        if words:
            pipeline.unload_textual_inversion([source.token for source in words])
