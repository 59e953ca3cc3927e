"""LoRA and textual inversion: put into a pipeline for a while, and taken out again."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from core.contract.weights import AdapterSource
from core.diffusion.model import DiffusionModel, install_lora, unavailable


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
    loras = [(source, weight) for source, weight in adapters if source.kind == "lora"]
    words = [source for source, _ in adapters if source.kind == "textual-inversion"]
    with _words(model, words), _loras(model.pipeline, loras):
        yield Adapters(model.pipeline, has_lora=bool(loras))


@contextmanager
def _loras(pipeline: Any, loras: Sequence[tuple[AdapterSource, float]]) -> Iterator[None]:
    names = [f"lora-{index}" for index in range(len(loras))]
    try:
        with unavailable("The weights of a LoRA can't be loaded."):
            for name, (source, _) in zip(names, loras, strict=True):
                install_lora(pipeline, source, name)
        if loras:
            pipeline.set_adapters(names, [weight for _, weight in loras])
        yield
    finally:
        if loras:
            pipeline.unload_lora_weights()


@contextmanager
def _words(model: DiffusionModel, words: Sequence[AdapterSource]) -> Iterator[None]:
    """Teach the text encoders new words for the length of the block.

    diffusers' own way back refuses words of several vectors, so what it changes is put back
    here: the tokenizers, and the tables of embeddings.
    """
    if not words:
        yield
        return
    pipeline = model.pipeline
    encoders = ["", "_2"] if model.spec.family == "sdxl" else [""]
    tokenizers = {suffix: getattr(pipeline, f"tokenizer{suffix}") for suffix in encoders}
    text_encoders = [getattr(pipeline, f"text_encoder{suffix}") for suffix in encoders]
    tables = [encoder.get_input_embeddings() for encoder in text_encoders]
    weights = [table.weight for table in tables]
    try:
        for suffix, tokenizer in tokenizers.items():
            setattr(pipeline, f"tokenizer{suffix}", copy.deepcopy(tokenizer))
        with unavailable("The vectors of a textual inversion can't be loaded."):
            for source in words:
                _load_word(pipeline, source, encoders)
        yield
    finally:
        for suffix, tokenizer in tokenizers.items():
            setattr(pipeline, f"tokenizer{suffix}", tokenizer)
        for encoder, table, weight in zip(text_encoders, tables, weights, strict=True):
            table.weight, table.num_embeddings = weight, len(weight)
            encoder.set_input_embeddings(table)
            encoder.config.vocab_size = len(weight)


def _load_word(pipeline: Any, source: AdapterSource, encoders: Sequence[str]) -> None:
    if len(encoders) == 1:
        pipeline.load_textual_inversion(
            source.source,
            token=source.token,
            weight_name=source.file,
            use_safetensors=True,
            local_files_only=True,
        )
        return
    vectors = load_file(_file_of(source))
    for suffix, key in zip(encoders, ("clip_l", "clip_g"), strict=True):
        pipeline.load_textual_inversion(
            vectors[key],
            token=source.token,
            text_encoder=getattr(pipeline, f"text_encoder{suffix}"),
            tokenizer=getattr(pipeline, f"tokenizer{suffix}"),
        )


def _file_of(source: AdapterSource) -> Path:
    path = Path(source.source)
    return path / source.file if path.is_dir() else path
