"""The client and the document say the same."""

from __future__ import annotations

import ast
from pathlib import Path

import generate

from attention_please_client import Client, errors
from tests.contract.test_openapi import DOCUMENT, operations

CLIENT = Path(generate.PACKAGE) / "client.py"
# For those who run the service; and all files in one, which `download` does one by one.
LEFT_OUT = {"getHealth", "getReadiness", "getMetrics", "getArchive"}


def test_the_clients_types_are_what_the_document_says() -> None:
    for file, text in generate.modules().items():
        assert file.read_text(encoding="utf-8") == text, "run `python client/generate.py`"


def test_the_client_has_an_exception_for_every_code() -> None:
    known = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]
    assert sorted(errors.BY_CODE) == known["x-extensible-enum"]


def test_the_client_has_a_typed_overload_for_every_technique() -> None:
    (ours,) = (
        node
        for node in ast.parse(CLIENT.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == Client.__name__
    )
    overloads = {
        ast.unparse(node.args.args[1].annotation or node): node.args.args[2].annotation
        for node in ours.body
        if isinstance(node, ast.FunctionDef) and node.name == "submit" and node.decorator_list
    }
    expected = {}
    for _, path, operation in operations():
        if operation["operationId"].startswith("submit"):
            schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            expected[f"Literal['{path[4:]}']"] = f"requests.{schema.rpartition('/')[2]}"
    assert {name: ast.unparse(body) for name, body in overloads.items() if body} == expected


def test_the_client_has_a_method_for_every_operation() -> None:
    methods = {
        "getJob": "job",
        "listJobs": "jobs",
        "cancelJob": "cancel",
        "deleteJob": "delete",
        "streamJobEvents": "events",
        "getArtifact": "download",
        "uploadImage": "upload",
        "getImage": "image",
        "deleteImage": "delete_image",
        "listReferences": "references",
        "listModels": "models",
        "listDeliveries": "deliveries",
        "redeliver": "redeliver",
        "getWebhookSecret": "webhook_secret",
    }
    submits = {op["operationId"] for _, _, op in operations() if "submit" in op["operationId"]}
    assert {op["operationId"] for _, _, op in operations()} == submits | LEFT_OUT | set(methods)
    assert all(callable(getattr(Client, method)) for method in methods.values())


def _typed(client: Client) -> None:
    """Read by the type checker only, which complains of an ignore that is not needed."""
    client.submit("style-aligned", {"prompts": ["a cat", {"text": "a dog", "seed": 3}]})
    client.submit("segmentation", {"promt": ""})  # type: ignore[call-overload]
    client.submit("nothing", {})  # type: ignore[call-overload]
