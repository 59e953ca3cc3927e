"""The page of models, and what a models file can say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.contract.models import ModelSpec, Scheduler, load_catalog
from core.contract.weights import AdapterSource, MergedLora, Source

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
TABLES: dict[str, type[BaseModel]] = {
    "": ModelSpec,
    "scheduler.": Scheduler,
    "lora.": MergedLora,
    "adapters.": AdapterSource,
}
FIELDS = {
    prefix + name: field
    for prefix, table in TABLES.items()
    for name, field in table.model_fields.items()
    if not prefix or name not in Source.model_fields
}


@pytest.mark.parametrize(("name", "field"), FIELDS.items())
def test_every_field_is_on_the_page_as_the_code_describes_it(name: str, field: FieldInfo) -> None:
    assert field.description, f"{name} has no description"
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    assert row.endswith(f"| {field.description} |")
    default = field.default
    if isinstance(default, str | int | float) and not isinstance(default, bool):
        assert f"| {default} |" in row


def test_the_page_has_no_field_that_is_not_there() -> None:
    tables = PAGE.partition("## A model")[2].partition("## Weights")[0]
    named = {line.split("`")[1] for line in tables.splitlines() if line.startswith("| `")}
    assert named == set(FIELDS)


def test_the_models_for_a_gpu_are_of_every_family_and_each_at_one_commit() -> None:
    catalog = load_catalog(ROOT / "models" / "gpu.toml")
    assert {spec.family for spec in catalog.models.values()} == {"sd1", "sd2", "sdxl"}
    assert catalog.warm_in("default") == ["sdxl"]
    few = [spec for spec in catalog.models.values() if spec.max_steps < 10]
    assert [spec.scheduler.timestep_spacing for spec in few] == ["trailing"]
    for spec in catalog.models.values():
        parts: list[Source | None] = [spec, spec.vae, spec.lora, spec.depth_estimator]
        parts += [*spec.controls.values(), *spec.adapters.values()]
        assert all(part.revision for part in parts if part is not None)
        assert spec.size_fault(spec.width) is None
