"""The board and the rules in config/ use metrics and labels that exist, and every metric is on the board."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from pagent.runtime.metrics import JOBS as JOBS_METRIC
from pagent.runtime.metrics import METRICS, START_FAILURES, Metric

CONFIG = Path(__file__).parent.parent / "config"
BOARD = json.loads((CONFIG / "monitoring" / "grafana-board.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((CONFIG / "monitoring" / "prometheus-alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]

#: Of prometheus_client's figures of the process; docs/metrics.rst names them.
PROCESS = {
    "pagent_process_cpu_seconds_total",
    "pagent_process_resident_memory_bytes",
    "pagent_process_open_fds",
    "pagent_process_max_fds",
}
SUFFIXES = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
#: Labels that Prometheus adds.
SCRAPED = {"instance", "job", "le"}


def samples() -> dict[str, Metric]:
    return {metric.name + suffix: metric for metric in METRICS for suffix in SUFFIXES[metric.kind]}


@pytest.mark.parametrize("expression", [*EXPRESSIONS, *(rule["expr"] for rule in RULES)])
def test_an_expression_uses_metrics_and_labels_that_exist(expression: str) -> None:
    names = re.findall(r"\bpagent_[a-z_]+", expression)
    known = samples()
    assert names or "up{" in expression
    assert set(names) <= set(known) | PROCESS
    labels = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        labels |= set(grouped.split(", "))
    allowed = SCRAPED.union(*(known[name].labels for name in names if name in known))
    assert labels <= allowed


def test_every_metric_is_on_the_board() -> None:
    drawn = set(re.findall(r"\bpagent_[a-z_]+", json.dumps(BOARD)))
    assert [metric.name for metric in METRICS if not {metric.name + s for s in SUFFIXES[metric.kind]} & drawn] == []


def test_alerts_have_names_severities_and_texts() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 5
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert used <= SCRAPED | set(START_FAILURES.labels) | set(JOBS_METRIC.labels)


def test_every_alert_has_advice_in_the_documentation() -> None:
    page = (CONFIG.parent / "docs" / "operations.rst").read_text()
    assert [rule["alert"] for rule in RULES if rule["alert"] not in page] == []
