"""Loading a model as its table in the models file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image
from safetensors.torch import load_file, save_file

from core.contract.errors import ModelUnavailable
from core.contract.models import Family, ModelSpec, Scheduler
from core.contract.weights import LORA_FILE, AdapterSource, MergedLora, Weights
from core.diffusion.adapters import adapted
from core.diffusion.denoise import Guidance, denoise, guided, scheduler_for, starting_noise
from core.diffusion.images import decode_image, decode_pixels, encode_image
from core.diffusion.model import DiffusionModel, load_model
from core.diffusion.prompts import encode_prompts
from tests.tiny_models import save_tiny, spec_of, with_extras

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> DiffusionModel:
    """A tiny model of a family, with a LoRA beside it."""
    family: Family = request.param
    return with_extras(tmp_path_factory.mktemp(family), family)


def loaded(spec: ModelSpec, **values: object) -> DiffusionModel:
    return load_model(spec.model_copy(update=values), CPU)


def drawn(model: DiffusionModel, steps: int = 2, scale: float = 5.0) -> Image.Image:
    prompts = [encode_prompts(model, [text]) for text in ("a cat", "")]
    guidance = Guidance(prompts[0], prompts[1], scale)
    noise = starting_noise(model, 3, 64, 64)
    return decode_image(model, denoise(model, noise, guided(model, guidance), steps))


def test_a_vae_of_its_own_takes_the_place_of_the_models(
    model: DiffusionModel, tmp_path: Path
) -> None:
    save_tiny(tmp_path, model.spec.family)
    path = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    own = {name: value + 0.01 for name, value in load_file(path).items()}
    save_file(own, path, metadata={"format": "pt"})
    other = loaded(model.spec, vae=Weights(source=str(tmp_path / "vae")))
    assert torch.equal(other.vae.decoder.conv_in.weight, own["decoder.conv_in.weight"])
    assert other.fingerprint != model.fingerprint
    assert other.unet.state_dict().keys() == model.unet.state_dict().keys()


def test_a_merged_lora_draws_what_the_lora_as_an_adapter_draws(model: DiffusionModel) -> None:
    lora = model.spec.adapters["drawn"]
    merged = loaded(model.spec, lora=MergedLora(source=lora.source, scale=0.5))
    plain = loaded(model.spec)
    assert not [name for name, _ in merged.unet.named_modules() if "lora" in name]
    assert merged.fingerprint != plain.fingerprint
    with adapted(plain, [(lora, 0.5)]):
        expected = np.asarray(drawn(plain), dtype=float)
    assert np.abs(np.asarray(drawn(merged), dtype=float) - expected).max() <= 1
    assert np.abs(np.asarray(drawn(plain), dtype=float) - expected).max() > 1


def test_few_steps_begin_at_the_noisiest_timestep(model: DiffusionModel) -> None:
    few = loaded(model.spec, scheduler=Scheduler(timestep_spacing="trailing"), max_steps=8)
    assert scheduler_for(few, 4).timesteps.tolist() == [999, 749, 499, 249]
    assert int(scheduler_for(model, 4).timesteps[0]) in (750, 751), "by the model's own offset"
    picture = np.asarray(drawn(few, steps=4, scale=1.0))
    assert picture.std() > 0
    for steps in range(1, 61):
        timesteps = scheduler_for(few, steps).timesteps
        assert (len(timesteps), int(timesteps[0])) == (steps, 999)
        assert int(timesteps.min()) >= 0


def test_few_steps_without_guidance_are_those_of_euler(model: DiffusionModel) -> None:
    few = loaded(model.spec, scheduler=Scheduler(timestep_spacing="trailing"), max_steps=8)
    euler = loaded(model.spec).pipeline
    euler.scheduler = EulerDiscreteScheduler.from_config(
        few.pipeline.scheduler.config, timestep_spacing="trailing", final_sigmas_type="zero"
    )
    noise = starting_noise(few, 3, 64, 64)
    # Euler wants its noise as strong as at its first step, where DDIM takes it as it is.
    euler.scheduler.set_timesteps(4)
    sigma = float(euler.scheduler.sigmas[0])
    scaled = noise * sigma / float(euler.scheduler.init_noise_sigma)
    drawn_by_euler = euler(
        "a cat", latents=scaled, num_inference_steps=4, guidance_scale=1.0, height=64, width=64
    ).images[0]
    ours = np.asarray(drawn(few, steps=4, scale=1.0), dtype=float)
    assert np.abs(ours - np.asarray(drawn_by_euler, dtype=float)).mean() < 1


def test_a_lora_of_another_model_is_said_to_be_unusable(
    model: DiffusionModel, tmp_path: Path
) -> None:
    weights = load_file(Path(model.spec.adapters["drawn"].source) / LORA_FILE)
    larger = {name: torch.cat([value, value], dim=-1) for name, value in weights.items()}
    elsewhere = {name.replace("_blocks.", "_parts."): value for name, value in weights.items()}
    unpaired = {name: value for name, value in weights.items() if "lora_A" in name}
    for number, wrong in enumerate((larger, elsewhere, unpaired)):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_file(wrong, folder / LORA_FILE)
        with pytest.raises(ModelUnavailable):
            loaded(model.spec, lora=MergedLora(source=str(folder)))
        adapter = AdapterSource(kind="lora", source=str(folder))
        with pytest.raises(ModelUnavailable), adapted(model, [(adapter, 1.0)]):
            pass
        assert not [name for name, _ in model.unet.named_modules() if "lora" in name]


def test_pickled_weights_are_refused(model: DiffusionModel, tmp_path: Path) -> None:
    save_tiny(tmp_path, model.spec.family)
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), tmp_path / "unet" / "diffusion_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelUnavailable, match="The weights of tiny can't be loaded"):
        loaded(spec_of(tmp_path, model.spec.family))


def test_a_broken_file_is_weights_that_can_not_be_loaded(
    model: DiffusionModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_tiny(tmp_path, model.spec.family)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ModelUnavailable):
        loaded(spec_of(tmp_path, model.spec.family))
    assert "The weights of tiny can't be loaded" in caplog.text, "why is for the log"


def test_only_sdxls_own_vae_is_widened_in_half_precision(model: DiffusionModel) -> None:
    half = loaded(model.spec, dtype="float16")
    assert half.vae.config.force_upcast, "as files say that say nothing of it"
    seen = []
    half.vae.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    half.vae.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    assert decode_pixels(half, torch.randn(1, 4, 16, 16).half()).dtype == torch.float32
    encode_image(half, Image.new("RGB", (64, 64), (200, 30, 90)))
    expected = torch.float32 if model.spec.family == "sdxl" else torch.float16
    assert seen == [expected] * 2
    assert half.vae.dtype == torch.float16
