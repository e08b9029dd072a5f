"""deploy/grafana against servers/telemetry/metrics.py and the recording rules: no panel asks for what nobody tells."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from servers.telemetry import metrics
from tests.deploy.test_prometheus import promtool

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "ragbench.json").read_text())
RULES = (DEPLOY / "prometheus" / "rules.yml").read_text()
RECORDED = set(re.findall(r"- record: (\S+)", RULES))
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
UNUSED: set[str] = set()
"""Declared metrics that are deliberately on no panel and in no rule."""


def declared() -> dict[str, str]:
    """Series names with the metric that each belongs to."""
    collectors = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    families = [family for collector in collectors for family in collector.collect()]
    return {family.name + suffix: family.name for family in families for suffix in SUFFIXES[family.type]}


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target


def named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:job:)?rag_\w+(?::\w+)?", text))


def test_every_panel_asks_for_what_is_declared_or_recorded() -> None:
    known = declared().keys() | RECORDED
    strangers = {title: named(target["expr"]) - known for title, target in targets() if named(target["expr"]) - known}
    assert strangers == {}
    assert all(named(target["expr"]) for _, target in targets())


def test_every_rule_asks_for_what_is_declared_or_recorded() -> None:
    expressions = " ".join(line for line in RULES.splitlines() if "rag_" in line and "- name:" not in line)
    assert named(expressions) - declared().keys() - RECORDED == set()


def test_every_metric_is_on_a_panel_or_in_a_rule() -> None:
    asked = named(RULES).union(*(named(target["expr"]) for _, target in targets()))
    used = {metric for series, metric in declared().items() if series in asked}
    assert set(declared().values()) - used == UNUSED


def test_every_recorded_series_is_on_a_panel_or_in_an_alert() -> None:
    alerts = RULES[RULES.index("rag_alerts") :]
    assert RECORDED - named(alerts).union(*(named(target["expr"]) for _, target in targets())) == set()


def test_the_board_can_be_imported() -> None:
    assert BOARD["schemaVersion"] == 39
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["datasource", "job"]
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Traffic", "Queue and batches", "Fleet"]
    sources = [target["datasource"] for _, target in targets()]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert all(panel["title"] and panel["description"] for panel in BOARD["panels"] if panel["type"] != "row")


def test_the_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in BOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    expressions = [target["expr"].replace("$__rate_interval", "1m") for _, target in targets()]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(expressions)} rules found" in done.stdout


@pytest.mark.parametrize("series", ["rag_requests", "rag_nothing_total", "job:rag_requests:rate5m"])
def test_a_stranger_would_be_seen(series: str) -> None:
    assert named(f"sum(rate({series}[1m]))") - declared().keys() - RECORDED == {series}
