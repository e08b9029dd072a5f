"""The tables of a report: the load that each design carried, and every point. Pure; formats nothing."""

from collections.abc import Iterator

import pandas as pd

from ragbench.plots.lines import answered_share, lines
from ragbench.results.folder import Study
from ragbench.results.metrics import SCALING

AT_THAT_LOAD = ("answered_share", "latency_p50_s", "latency_p95_s", "latency_p99_s", "batch_size", "exact_match", "f1")
OF_A_POINT = (
    *("arrival", "offered_rps", "concurrency", "seed", "verdict", "answered_share", "due_rps"),
    *("throughput_rps", "goodput_rps", "slo_met"),
    *("latency_mean_s", "latency_p50_s", "latency_p95_low_s", "latency_p95_s", "latency_p95_high_s", "latency_p99_s"),
    *("send_lag_p95_s", "in_flight_mean", "unaccounted_s", "other_cpu_cores"),
    *SCALING,
    *("batch_size", "replicas", "exact_match", "f1", "recall_at_k", "rejected", "timed_out", "failed", "unsent"),
)


def carried(study: Study) -> pd.DataFrame:
    """A row per design, settings and arrival process, and seed where there are several: the load carried, and how.

    Open loop only: of users who wait there is no offered load to carry.

    `carried_rps` is the highest offered rate up to which every point of every seed was valid; absent where the lowest
    was not. The figures beside it are those of this seed's point at that rate, never joined over seeds.
    `best_throughput_rps` is the most this seed was answered at any rate, valid or not. Of the figures
    there, those without a value are left out.
    """
    rows = [
        row for line in lines(study) for arrival in study.arrivals for row in _carried(line.at(arrival), line.label)
    ]
    table = pd.DataFrame(rows).drop(columns=[] if study.summary["seed"].nunique() > 1 else ["seed"], errors="ignore")
    return table.drop(columns=[name for name in AT_THAT_LOAD if name in table and table[name].isna().all()])


def _carried(points: pd.DataFrame, label: str) -> Iterator[dict[str, object]]:
    points = points.assign(answered_share=answered_share(points))
    is_valid = (points["verdict"] == "valid").groupby(points["offered_rps"]).all().cummin()
    most_rps = is_valid.index[is_valid].max() if is_valid.any() else None
    at_that_load = points[points["offered_rps"] == most_rps].drop_duplicates("seed").set_index("seed")
    for (arrival, seed), own in points.groupby(["arrival", "seed"]):
        row = {"design": label, "arrival": arrival, "seed": seed, "carried_rps": most_rps}
        row["best_throughput_rps"] = own["throughput_rps"].max()
        known = at_that_load.loc[seed] if seed in at_that_load.index else {}
        yield row | {name: known.get(name) for name in AT_THAT_LOAD}


def points(study: Study) -> pd.DataFrame:
    """One row per point, designs in the order of the figures; columns as in summary.csv, the label for the settings.

    Columns that no point has a value for are left out.
    """
    rows = _in_order(study)
    return rows[[name for name in ("design", *OF_A_POINT) if name in rows]].dropna(axis="columns", how="all")


def reasons(study: Study) -> pd.DataFrame:
    """One row per point that is not valid: which, and why."""
    rows = _in_order(study)
    columns = ["design", "arrival", "offered_rps", "concurrency", "seed", "verdict", "answered_share", "verdict_reason"]
    return rows.loc[rows["verdict"] != "valid", columns].dropna(axis="columns", how="all").reset_index(drop=True)


def _in_order(study: Study) -> pd.DataFrame:
    """The points of each line, by arrival process, load and seed."""
    parts = [line.points.assign(design=line.label, answered_share=answered_share(line.points)) for line in lines(study)]
    keys = ["arrival", "offered_rps", "concurrency", "seed"]
    return pd.concat([part.sort_values(keys, kind="stable") for part in parts], ignore_index=True)


def summarised(study: Study) -> str:
    """One sentence: how many points there are and how they were judged."""
    verdicts = study.summary["verdict"].value_counts()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return f"{len(study.summary)} points, {study.summary['requests'].sum():,} requests: {counts}."
