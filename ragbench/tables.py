"""The tables of a report: what each design carried, and every point. Pure; formats nothing."""

import pandas as pd

from ragbench.plots.lines import Line, lines, repeats
from ragbench.plots.study import Study
from ragbench.records import NEWER_SUMMARY_COLUMNS, SCALING_COLUMNS

AT_THAT_LOAD = ("latency_p50_s", "latency_p95_s", "latency_p99_s", "batch_size", "exact_match", "f1")
OF_A_POINT = (
    *(
        "arrival",
        "offered_rps",
        "concurrency",
        "seed",
        "verdict",
        "answered_share",
        "throughput_rps",
        "goodput_rps",
        "slo_met",
    ),
    *("latency_mean_s", "latency_p50_s", "latency_p95_low_s", "latency_p95_s", "latency_p95_high_s", "latency_p99_s"),
    *("send_lag_p95_s", "in_flight_mean", "unaccounted_s", "other_cpu_cores"),
    *SCALING_COLUMNS,
    *("batch_size", "replicas", "exact_match", "f1", "recall_at_k", "rejected", "timed_out", "failed", "unsent"),
)


def carried(study: Study) -> pd.DataFrame:
    """One row per design, settings and arrival process: the load it carried, and how it did there, means over seeds.

    Open loop only: of users who wait there is no offered load to carry.

    `carried_rps` is the highest offered rate up to which every point was valid; absent where the lowest was not.
    `best_throughput_rps` is the most it answered at any rate, valid or not. `f1` is left out of studies of before it.
    """
    rows = [_carried(line, arrival) for line in lines(study) for arrival in study.arrivals]
    table = pd.DataFrame([row for row in rows if row])
    return table.drop(columns=[name for name in NEWER_SUMMARY_COLUMNS if name in table and table[name].isna().all()])


def _carried(line: Line, arrival: str) -> dict[str, object]:
    points = line.at(arrival)
    if points.empty:
        return {}
    throughput = repeats(points, "throughput_rps")
    valid = throughput.index[throughput["is_valid"].cummin()]
    row: dict[str, object] = {"design": line.label, "arrival": arrival}
    row |= {"carried_rps": valid.max() if len(valid) else None, "best_throughput_rps": throughput["mean"].max()}
    return row | {name: repeats(points, name)["mean"].get(valid.max()) if len(valid) else None for name in AT_THAT_LOAD}


def points(study: Study) -> pd.DataFrame:
    """One row per point, designs in the order of the figures; columns as in summary.csv, the label for the settings.

    Columns that no point has a value for are left out.
    """
    return _in_order(study)[["design", *OF_A_POINT]].dropna(axis="columns", how="all")


def reasons(study: Study) -> pd.DataFrame:
    """One row per point that is not valid: which, and why."""
    rows = _in_order(study)
    told = ["design", "arrival", "offered_rps", "concurrency", "seed", "verdict", "verdict_reason"]
    return rows.loc[rows["verdict"] != "valid", told].dropna(axis="columns", how="all").reset_index(drop=True)


def _in_order(study: Study) -> pd.DataFrame:
    parts = [line.points.assign(design=line.label) for line in lines(study)]
    joined = pd.concat(parts).sort_values(["arrival", "offered_rps", "concurrency", "seed"], kind="stable")
    order = {line.label: place for place, line in enumerate(lines(study))}
    return joined.sort_values("design", key=lambda labels: labels.map(order), kind="stable").reset_index(drop=True)


def summarised(study: Study) -> str:
    """One sentence: how many points there are and how they were judged."""
    verdicts = study.summary["verdict"].value_counts()
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return f"{len(study.summary)} points, {study.summary['requests'].sum():,} requests: {told}."
