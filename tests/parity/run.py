"""Run a parity case with this project's public code and write what it computes.

    python -m tests.parity.run CASE.json --models DIR --out FILE.safetensors

A case is a JSON file (what is computed, with which parameters) beside a safetensors file of
inputs named `in.*` or `<variant>/in.*`. Each output is written as `<variant>/out.*`. Tensors
whose name says `out.` are never read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from safetensors.torch import save_file

from tests.parity import (
    appearance_transfer,
    control,
    inversion,
    ops,
    panorama,
    segmentation,
    style_aligned,
)
from tests.parity.case import Case, Outputs, load_case

CASES: dict[str, Callable[[Case], Outputs]] = {
    "appearance_transfer": appearance_transfer.transfer_outputs,
    "attention_store": segmentation.store_outputs,
    "cross_image_attention_op": appearance_transfer.operation_outputs,
    "cross_image_attention_processor": appearance_transfer.processor_outputs,
    "ddim_inversion": inversion.inversion_outputs,
    "ddpm_inversion": appearance_transfer.inversion_outputs,
    "free_u": appearance_transfer.free_u_outputs,
    "masked_adain": appearance_transfer.adain_outputs,
    "segmentation": segmentation.segment_outputs,
    "style_aligned_controlnet": control.controlnet_outputs,
    "style_aligned_ops": ops.operation_outputs,
    "style_aligned_panorama": panorama.panorama_outputs,
    "style_aligned_transfer": inversion.transfer_outputs,
    "style_aligned_unet_sd": style_aligned.unet_outputs,
    "style_aligned_unet_sdxl": style_aligned.unet_outputs,
    "style_aligned_t2i_sd": style_aligned.pipeline_outputs,
    "style_aligned_t2i_sdxl": style_aligned.pipeline_outputs,
}


def main(
    case: Path,
    models: Annotated[Path, typer.Option(help="Folder of the models the cases name.")],
    out: Annotated[Path, typer.Option(help="Where the outputs go, as safetensors.")],
) -> None:
    """Compute the outputs of one case."""
    loaded = load_case(case, models)
    if loaded.name not in CASES:
        raise typer.BadParameter(f"no runner for {loaded.name!r}; there is {', '.join(CASES)}")
    outputs = CASES[loaded.name](loaded)
    save_file({name: tensor.clone() for name, tensor in outputs.items()}, out)
    typer.echo(f"{len(outputs)} tensors of {loaded.name} written to {out}")


if __name__ == "__main__":
    typer.run(main)
