"""Alerts and the dashboard ask for series that there are, and the page tells of every alert."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from core.jobs.queue import JobQueue
from core.jobs.tally import count_run
from core.jobs.workers import WorkerInfo, announce
from tests.unit.deploy.files import ROOT, documents

FOLDER = ROOT / "deploy" / "monitoring"
(ALERTS,) = documents(FOLDER / "alerts.yml")
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads(
    (FOLDER / "grafana" / "dashboards" / "attention-please.json").read_text(encoding="utf-8")
)
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["query"]["query"]
    (scaled,) = documents(ROOT / "deploy" / "kubernetes" / "autoscaling" / "worker.yaml")
    yield from (trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"])


@pytest.fixture
def series(client: httpx.Client, redis: Redis, queue: JobQueue) -> dict[str, set[str]]:
    """Each series that the service shows, with its labels."""
    now = datetime.now(UTC)
    info = WorkerInfo(name="a-1-1", pool="default", device="cpu", warm_models=(), since=now)
    announce(redis, info, 30)
    queue.learn(45)
    count_run(redis, "style-aligned", 0.2, 45, {"denoising": 40.0})
    redis.hincrby("attention-please:tally", "ended style-aligned failed", 1)
    client.get("/healthz")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_series_that_is_asked_for_is_there_with_its_labels(
    series: dict[str, set[str]],
) -> None:
    for expression in expressions():
        named = re.findall(r"(attention_\w+)(?:\{([^}]*)\})?", expression)
        assert named or "up{" in expression, expression
        for name, labels in named:
            assert name in series, f"{name} in {expression}"
            assert set(re.findall(r"(\w+)\s*[!=]", labels)) <= series[name], expression
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            known = set().union(*(series[name] for name, _ in named))
            assert set(grouped.split(", ")) <= known, expression


def test_series_of_the_whole_deployment_are_never_added_up_over_services() -> None:
    for expression in expressions():
        for name in re.findall(r"attention_(?:jobs_total|job_\w+)", expression):
            before = expression.partition(name)[0]
            assert "max" in before, f"{expression}: each service shows the same {name}"


def test_every_alert_says_how_bad_it_is_and_what_is_wrong() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool")
def test_alerts_fire_when_they_should_by_prometheus_itself() -> None:
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            ["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_tells_of_every_alert_and_of_no_other() -> None:
    told = re.findall(r"^\| `(Attention\w+)` \|", PAGE, flags=re.MULTILINE)
    assert told == [rule["alert"] for rule in RULES]


def test_the_dashboard_s_panels_stand_beside_each_other_and_have_a_unit() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["fieldConfig"]["defaults"]["unit"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_prometheus_and_grafana_are_given_what_is_here() -> None:
    (prometheus,) = documents(FOLDER / "prometheus.yml")
    assert prometheus["rule_files"] == ["alerts.yml"]
    ((scraped, job),) = ((j["dns_sd_configs"][0]["names"], j) for j in prometheus["scrape_configs"])
    assert scraped == ["service"]
    name = job["job_name"]
    assert f'up{{job="{name}"}}' in RULES[0]["expr"]
    (sources,) = documents(FOLDER / "grafana" / "provisioning" / "datasources" / "prometheus.yml")
    uids = {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == uids
