"""An example of each answer, for the OpenAPI document. Bodies have theirs beside their models.

They are put in when it is made: the framework would leave out what is null.
"""

from __future__ import annotations

from typing import Any

_DIGITS = "0123456789abcdef0123456789abcdef"
_URL = f"http://127.0.0.1:8000/v1/jobs/job_{_DIGITS}"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

_SUMMARY = {
    "id": f"job_{_DIGITS}",
    "technique": "style-aligned",
    "status": "succeeded",
    "model": "tiny-world",
    "metadata": {"order": "4711"},
    "created_at": "2026-01-01T12:00:00Z",
    "started_at": "2026-01-01T12:00:01Z",
    "ended_at": "2026-01-01T12:00:09Z",
    "expires_at": "2026-01-08T12:00:09Z",
    "attempt": 1,
    "progress": None,
    "error": None,
    "links": {"self": _URL, "events": f"{_URL}/events", "cancel": None},
}
_JOB: dict[str, Any] = {
    "id": f"job_{_DIGITS}",
    "technique": "style-aligned",
    "status": "queued",
    "model": "tiny-world",
    "created_at": "2026-01-01T12:00:00Z",
    "started_at": None,
    "ended_at": None,
    "expires_at": None,
    "attempt": 0,
    "queue": {"position": 1, "estimated_wait_seconds": None},
    "progress": None,
    "request": {"prompts": [{"text": "a cat", "seed": 7, "negative": ""}]},
    "artifacts": [],
    "measures": {},
    "warnings": [],
    "error": None,
    "links": {"self": _URL, "events": f"{_URL}/events", "cancel": f"{_URL}/cancel"},
}
_MODEL = {
    "name": "tiny-world",
    "family": "sd1",
    "techniques": ["appearance-transfer", "attention-maps", "segmentation", "style-aligned"],
    "width": 64,
    "height": 64,
    "grid": 8,
    "min_size": 32,
    "max_size": 256,
    "steps": 20,
    "max_steps": 200,
    "guidance_scale": 5.0,
    "controls": ["canny"],
    "adapters": [{"name": "snail", "kind": "lora", "token": None}],
    "warm_workers": ["worker-1"],
}
_DELIVERY = {
    "id": f"msg_{_DIGITS}_1",
    "event": "job.succeeded",
    "status": "delivered",
    "created_at": "2026-01-01T12:00:09Z",
    "next_try_at": None,
    "tries": [
        {
            "at": "2026-01-01T12:00:09Z",
            "duration_seconds": 0.12,
            "status_code": 204,
            "reason": None,
        }
    ],
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "JobView": _JOB,
    "JobList": {"jobs": [_SUMMARY], "next_cursor": None},
    "ImageInfo": {
        "id": f"img_{_DIGITS}",
        "width": 512,
        "height": 512,
        "media_type": "image/png",
        "size_bytes": 48_213,
        "sha256": _SHA256,
        "expires_at": "2026-01-08T12:00:00Z",
    },
    "ReferenceList": {
        "references": [
            {
                "id": f"ref_{_DIGITS}",
                "model": "tiny-world",
                "image": f"img_{_DIGITS}",
                "prompt": "a house in blueprint style",
                "width": 64,
                "height": 64,
                "steps": 20,
            }
        ]
    },
    "ModelList": {"default": "tiny-world", "models": [_MODEL]},
    "Delivery": _DELIVERY,
    "DeliveryList": {"deliveries": [_DELIVERY]},
    "WebhookSecret": {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
    "Health": {"status": "ok"},
    "NotReady": {
        "type": "urn:attention-please:problem:unavailable",
        "title": "A part of the service does not answer",
        "status": 503,
        "detail": "worker: None of pool 'default' is alive.",
        "instance": "/readyz",
        "code": "unavailable",
        "retryable": True,
        "request_id": "req_5f0c1a2b3d4e5f60",
        "checks": {
            "redis": "ok",
            "worker": "None of pool 'default' is alive.",
            "storage": "ok",
        },
    },
    "Readiness": {
        "status": "ready",
        "checks": {"redis": "ok", "worker": "ok", "storage": "ok"},
    },
}
