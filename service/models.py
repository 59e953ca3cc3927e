"""Which models can be asked for."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from core.catalog import TECHNIQUES
from core.contract.models import ControlKind, Family, ModelSpec
from core.contract.weights import AdapterKind
from core.jobs.workers import WorkerInfo
from service.auth import Caller
from service.backends import WithBackends
from service.documentation import problem_responses
from service.views import View

router = APIRouter(tags=["Models"])


class AdapterView(View):
    """A LoRA or a textual inversion of a model."""

    name: str = Field(description="For the `adapters` field of a request.")
    kind: AdapterKind = Field(description="A LoRA, or a word that was learned.")
    token: str | None = Field(description="What a prompt says for a textual inversion.")


class ModelView(View):
    """A model, what it can do, and what it does when a request does not say."""

    name: str = Field(description="For the `model` field of a request.")
    family: Family = Field(description="Which architecture it has.")
    techniques: tuple[str, ...] = Field(description="Which it can be asked for.")
    width: int = Field(description="Default, in pixels.")
    height: int = Field(description="Default, in pixels.")
    grid: int = Field(description="Widths and heights are multiples of this, in pixels.")
    min_size: int = Field(description="Smallest side, in pixels.")
    max_size: int = Field(description="Largest side, in pixels.")
    steps: int = Field(description="Default number of denoising steps.")
    max_steps: int = Field(description="Most denoising steps that can be asked for.")
    guidance_scale: float = Field(description="Default.")
    controls: tuple[ControlKind, ...] = Field(description="For the `control` field of a request.")
    adapters: tuple[AdapterView, ...] = Field(description="For its `adapters` field.")
    warm_workers: tuple[str, ...] = Field(description="Workers that have it loaded.")


class ModelList(View):
    """The models of this service."""

    default: str = Field(description="Used when a request names no model.")
    models: tuple[ModelView, ...] = Field(description="By name.")


@router.get(
    "/v1/models",
    operation_id="listModels",
    summary="List the models",
    response_description="The models, by name.",
    responses=problem_responses(401, 503),
)
def list_models(backends: WithBackends, caller: Caller) -> ModelList:
    """What can be asked for, with sizes and defaults, and where it would start at once."""
    workers = backends.workers()
    catalog = backends.models
    specs = [catalog.models[name] for name in sorted(catalog.models)]
    return ModelList(default=catalog.default, models=tuple(_view(spec, workers) for spec in specs))


def _view(spec: ModelSpec, workers: list[WorkerInfo]) -> ModelView:
    techniques = (t.name for t in TECHNIQUES.values() if spec.family in t.families)
    return ModelView(
        name=spec.name,
        family=spec.family,
        techniques=tuple(sorted(techniques)),
        width=spec.width,
        height=spec.height,
        grid=spec.grid,
        min_size=spec.min_size,
        max_size=spec.max_size,
        steps=spec.steps,
        max_steps=spec.max_steps,
        guidance_scale=spec.guidance_scale,
        controls=tuple(sorted(spec.controls)),
        adapters=tuple(
            AdapterView(name=name, kind=adapter.kind, token=adapter.token)
            for name, adapter in sorted(spec.adapters.items())
        ),
        warm_workers=tuple(sorted(w.name for w in workers if spec.name in w.warm_models)),
    )
