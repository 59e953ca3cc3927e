"""The manifests: valid by Kubernetes' own schemas, and what they promise."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.unit.deploy.files import DRAIN_SECONDS, ROOT, documents, unknown_settings

FOLDER = ROOT / "deploy" / "kubernetes"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
VERSION = "1.34"
EMPTY_CACHE = {"sizeLimit": "60Gi"}

# Of KEDA's own definition, what is used here: https://keda.sh/docs/latest/reference/scaledobject-spec/
SCALED_OBJECT = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["scaleTargetRef", "triggers"],
            "additionalProperties": False,
            "properties": {
                "scaleTargetRef": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}},
                },
                "minReplicaCount": {"type": "integer", "minimum": 0},
                "maxReplicaCount": {"type": "integer", "minimum": 1},
                "pollingInterval": {"type": "integer", "minimum": 1},
                "cooldownPeriod": {"type": "integer", "minimum": 0},
                "advanced": {
                    "type": "object",
                    "properties": {"horizontalPodAutoscalerConfig": {"type": "object"}},
                },
                "triggers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["type", "metadata"],
                        "additionalProperties": False,
                        "properties": {
                            "type": {"const": "prometheus"},
                            "metricType": {"enum": ["Value", "AverageValue"]},
                            # Every value of a trigger is text.
                            "metadata": {
                                "type": "object",
                                "required": ["serverAddress", "query", "threshold"],
                                "additionalProperties": {"type": "string"},
                            },
                        },
                    },
                },
            },
        }
    },
}


def validate(document: dict[str, Any]) -> None:
    if document["apiVersion"] == "keda.sh/v1alpha1":
        jsonschema.validate(document, SCALED_OBJECT)
    else:
        kubernetes_validate.validate(document, VERSION, strict=True)


def of_kind(*kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in FILES:
        for document in documents(path):
            if document["kind"] in kinds:
                yield document["metadata"]["name"], document


PODS = {
    name: workload["spec"]["template"]["spec"]
    for name, workload in of_kind("Deployment", "StatefulSet")
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_manifest_is_valid(path: Any) -> None:
    for document in documents(path):
        validate(document)
        assert "namespace" not in document["metadata"], "any namespace will do"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_builds_and_what_it_builds_is_valid(overlay: str) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", FOLDER / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    found = [*yaml.safe_load_all(built.stdout)]
    for document in found:
        validate(document)
    (worker,) = [d for d in found if (d["kind"], d["metadata"]["name"]) == ("Deployment", "worker")]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    on_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
    assert on_gpu == (overlay == "gpu")
    assert container["env"][0]["value"] == ("cuda" if on_gpu else "cpu")
    assert ("ScaledObject" in {d["kind"] for d in found}) == on_gpu
    (cache,) = [v for v in worker["spec"]["template"]["spec"]["volumes"] if "models" in v["name"]]
    kept = {"persistentVolumeClaim": {"claimName": "models-cache"}}
    assert cache == {"name": "models-cache"} | (kept if on_gpu else {"emptyDir": EMPTY_CACHE})
    images = [
        container["image"]
        for document in found
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    assert not on_gpu or all(image.startswith("registry.example/") for image in images)


def test_every_kustomization_names_files_that_are_there() -> None:
    for path in FOLDER.rglob("kustomization.yaml"):
        (found,) = documents(path)
        for named in (*found.get("resources", []), *found.get("components", [])):
            assert (path.parent / named).exists(), f"{path}: {named}"


@pytest.mark.parametrize("name", PODS)
def test_no_pod_has_rights_it_does_not_need(name: str) -> None:
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", ["service", "worker"])
def test_ours_run_as_the_user_of_the_images_and_mount_what_they_write_to(name: str) -> None:
    image = (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")
    assert f"--uid {PODS[name]['securityContext']['runAsUser']} app" in image
    (container,) = PODS[name]["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted >= {"/data", "/tmp"}
    assert ("/models-cache" in mounted) == (name == "worker")


@pytest.mark.parametrize("name", PODS)
def test_kubernetes_sets_no_variables_that_look_like_settings(name: str) -> None:
    assert PODS[name]["enableServiceLinks"] is False


def test_a_worker_has_longer_than_its_drain_to_end_and_one_gpu() -> None:
    assert PODS["worker"]["terminationGracePeriodSeconds"] > DRAIN_SECONDS
    (container,) = PODS["worker"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["readinessProbe"]["exec"]["command"] == ["attention-please", "healthy"]
    assert "livenessProbe" not in container, "it would end jobs while the broker is away"


def test_pods_and_budgets_and_policies_select_each_other() -> None:
    components = {
        workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for _, workload in of_kind("Deployment", "StatefulSet")
    }
    assert components == {"service", "worker", "redis"}
    for name, document in of_kind("PodDisruptionBudget", "NetworkPolicy", "Service"):
        spec = document["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        labels = selector.get("matchLabels", selector)
        assert labels == {"app.kubernetes.io/component": name}
    assert {name for name, _ in of_kind("NetworkPolicy")} == components
    assert {name for name, _ in of_kind("PodDisruptionBudget")} == {"service", "worker"}


def test_workers_are_scaled_by_the_expected_wait() -> None:
    ((name, scaled),) = of_kind("ScaledObject")
    assert name in PODS
    (trigger,) = scaled["spec"]["triggers"]
    assert "attention_expected_wait_seconds" in trigger["metadata"]["query"]
    assert scaled["spec"]["minReplicaCount"] >= 1, "without a worker there is no such series"


def test_redis_keeps_its_file_and_no_secret_is_in_any_manifest() -> None:
    (container,) = PODS["redis"]["containers"]
    assert "--appendonly yes" in " ".join(container["args"])
    assert not list(of_kind("Secret"))


def test_every_variable_is_one_that_the_processes_read() -> None:
    for path in FOLDER.rglob("*.yaml"):
        assert not unknown_settings(path.read_text(encoding="utf-8")), path
