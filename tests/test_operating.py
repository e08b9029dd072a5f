"""docs/operating.md against what it speaks of: the table of metrics is theirs, and its flags and series exist."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from servers.scaled import ScaledSettings
from servers.telemetry import metrics

DOCS = Path(__file__).parents[1] / "docs"
OPERATING = (DOCS / "operating.md").read_text()
SUFFIX = {"counter": "_total", "gauge": "", "histogram": ""}


def table() -> str:
    """A row for each metric, as declared; paste it into the page when this test fails."""
    lines = ["| metric | type | labels | fleet | what it is |", "|---|---|---|---|---|"]
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.collect()
            how = metrics.OVER_REPLICAS.get(metric)
            labels, fleet = ", ".join(metric._labelnames), how.__name__ if how else "own"
            name = f"`{family.name}{SUFFIX[family.type]}`"
            lines.append(f"| {name} | {family.type} | {labels} | {fleet} | {family.documentation} |")
    return "\n".join(lines)


def test_the_table_of_metrics_is_that_of_the_servers() -> None:
    assert table() in OPERATING, f"docs/operating.md wants this table:\n\n{table()}"


def test_every_flag_is_one_of_the_fleet() -> None:
    named = set(re.findall(r"`--([a-z-]+)", OPERATING))
    assert {"log-format", "access-log", "otlp-endpoint", "log-level"} <= named
    assert {name.replace("-", "_") for name in named} - set(ScaledSettings.model_fields) == set()


def test_every_link_leads_somewhere() -> None:
    pages = [
        DOCS / "operating.md",
        *(DOCS.parent / "deploy" / name / "README.md" for name in ("prometheus", "grafana")),
    ]
    for page in pages:
        targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", page.read_text())]
        assert [target for target in targets if not (page.parent / target).exists()] == [], page
