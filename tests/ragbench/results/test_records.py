import errno
import json
from pathlib import Path

import pandas as pd
import pytest

from ragbench.results.records import (
    DECISIONS,
    REPLICAS,
    REQUESTS,
    STARTS,
    STATUSES,
    TELEMETRY,
    Decision,
    RecordError,
    ReplicaCount,
    Row,
    Sample,
    Start,
    load_summary,
    read_manifest,
    read_manifests,
    summary_csv,
    write_atomic,
    write_manifest,
)
from tests.ragbench.results_fixture import SUMMARY_HEADER_TAIL

RESULTS = Path(__file__).parents[3] / "results"
HEADER = (
    "request,question,due_s,sent_s,done_s,latency_s,send_lag_s,status,http_status,queue_s,embed_s,retrieve_s,generate_s,"
    "batch_size,close_reason,replica,prompt_tokens,completion_tokens,exact_match,f1,recall_at_k,result,error"
)
SUMMARY_HEADER = f"point,configuration,design,max_batch_size,max_wait_s,{SUMMARY_HEADER_TAIL}"
TELEMETRY_HEADER = (
    "t_s,client_cpu_cores,client_memory_mib,server_cpu_cores,server_memory_mib,other_cpu_cores,gpu_percent,"
    "gpu_memory_mib,gpu_power_w,gpu_energy_j,throttled_share"
)


def manifest(design, rate, *, users=None, **settings):
    name = f"{design}-{rate}"
    point = {
        "name": name,
        "configuration": design,
        "design": design,
        "settings": settings,
        "arrival": "ideal",
        "offered_rps": rate,
        "seed": 1,
    }
    point |= {"arrival": "closed", "concurrency": users} if users else {}
    counts = dict.fromkeys(("requests", "completed", "rejected", "timed_out", "failed", "unsent"), 3)
    row = {
        "point": name,
        "configuration": design,
        "design": design,
        "arrival": "ideal",
        "offered_rps": rate,
        "seed": 1,
        "replicas": 1,
    }
    return {"point": point, "summary": {**row, **counts, "verdict": "valid", "hardware": "AMD, 2 cores"}}


def test_columns_of_requests_are_those_agreed():
    assert ",".join(REQUESTS.columns) == HEADER


def test_a_row_as_text():
    row = Row(
        0, "q1", 1 / 3, 0.3340004, 0.5, 1 / 6, 0.000667, "ok", 200, batch_size=7, exact_match=1.0, result='a,"b"\n'
    )
    assert REQUESTS.text([row]).splitlines()[1:] == [
        '0,q1,0.333333333,0.334,0.5,0.166667,0.000667,ok,200,,,,,7,,,,,1,,,"a,""b""',
        '",',
    ]


def test_requests_come_back_typed(tmp_path):
    rows = [
        Row(0, "q1", 0.0, 0.001, 0.02, 0.02, 0.001, "ok", 200, queue_s=0.01, result="null", replica="8000"),
        Row(1, "q2", 0.5, error="\0odd \ud800 text", result="NA"),
    ]
    write_atomic(tmp_path / "r.csv", REQUESTS.text(rows))
    frame = REQUESTS.frame(tmp_path / "r.csv")
    assert list(frame.columns) == HEADER.split(",")
    assert frame["request"].tolist() == [0, 1]
    assert frame["result"].tolist() == ["null", "NA"]
    assert frame["replica"].tolist()[0] == "8000"
    assert frame["latency_s"].isna().tolist() == [False, True]
    assert frame["status"].tolist() == ["ok", "unsent"]


def test_replica_counts_come_back(tmp_path):
    write_atomic(tmp_path / "r.csv", REPLICAS.text([ReplicaCount(0.0, 2, 1, 0), ReplicaCount(0.5, 3, 0, 0)]))
    assert (tmp_path / "r.csv").read_text() == "t_s,ready,starting,draining\n0,2,1,0\n0.5,3,0,0\n"
    assert REPLICAS.frame(tmp_path / "r.csv")["ready"].max() == 3


def test_the_summary_holds_the_settings_of_all_designs_in_a_steady_order(tmp_path):
    points = [
        manifest("batched", 20.0, max_batch_size=32, max_wait_s=0.05),
        manifest("batched", 60.0, max_batch_size=8, max_wait_s=0.05),
        manifest("batched", 20.0, max_batch_size=8, max_wait_s=0.05),
        manifest("baseline", 20.0),
    ]
    text = summary_csv(points)
    assert text == summary_csv(points[::-1])
    assert text.splitlines()[0] == SUMMARY_HEADER
    assert [line.split(",")[:7] for line in text.splitlines()[1:]] == [
        ["baseline-20.0", "baseline", "baseline", "", "", "ideal", "20"],
        ["batched-20.0", "batched", "batched", "8", "0.05", "ideal", "20"],
        ["batched-60.0", "batched", "batched", "8", "0.05", "ideal", "60"],
        ["batched-20.0", "batched", "batched", "32", "0.05", "ideal", "20"],
    ]
    write_atomic(tmp_path / "s.csv", text)
    assert load_summary(tmp_path / "s.csv")["max_batch_size"].tolist()[1:] == [8, 8, 32]


def test_closed_loops_come_after_open_ones_by_users(tmp_path):
    points = [manifest("a", None, users=10), manifest("a", 30.0), manifest("a", None, users=2), manifest("b", 5.0)]
    for number, each in enumerate(points):
        each["summary"] |= {
            "concurrency": each["point"].get("concurrency"),
            "slo_met": [True, False, None, None][number],
        }
    write_atomic(tmp_path / "s.csv", summary_csv(points))
    summary = load_summary(tmp_path / "s.csv")
    assert summary["concurrency"].fillna(0).tolist() == [0, 2, 10, 0]
    assert summary["offered_rps"].fillna(0).tolist() == [30, 0, 0, 5]
    assert summary["slo_met"].tolist()[:3:2] == [False, True]
    assert summary["slo_met"].isna().tolist() == [False, True, False, True]


def test_rows_counts_and_samples_come_back_as_they_were_written(tmp_path):
    rows = [
        Row(0, "q1", 0.25, 0.251, 0.5, 0.25, 0.001, "ok", 200, batch_size=7, replica="8000", result="NA"),
        Row(1, "q,2", 0.5, status="reset", error='it said "no"\n'),
    ]
    counts = [ReplicaCount(0.5, 2, 1, 0)]
    decisions = [Decision(0.5, 1, 0, 9, 0.25, 20.5, 2, "queue wait"), Decision(1.0, 1, 1, 9, 0.0, 20.5, 2, "hold")]
    starts = [Start(1.5, 2.25)]
    samples = [Sample(1.0, client_cpu_cores=0.25, gpu_power_w=70.5), Sample(2.0)]
    write_atomic(tmp_path / "r.csv", REQUESTS.text(rows))
    write_atomic(tmp_path / "c.csv", REPLICAS.text(counts))
    write_atomic(tmp_path / "t.csv", TELEMETRY.text(samples))
    write_atomic(tmp_path / "d.csv", DECISIONS.text(decisions))
    write_atomic(tmp_path / "s.csv", STARTS.text(starts))
    assert DECISIONS.read(tmp_path / "d.csv") == decisions
    assert STARTS.read(tmp_path / "s.csv") == starts
    assert DECISIONS.frame(tmp_path / "d.csv")["reason"].tolist() == ["queue wait", "hold"]
    assert REQUESTS.read(tmp_path / "r.csv") == rows
    assert REPLICAS.read(tmp_path / "c.csv") == counts
    assert TELEMETRY.read(tmp_path / "t.csv") == samples
    assert (tmp_path / "t.csv").read_text().splitlines() == [TELEMETRY_HEADER, "1,0.25,,,,,,,70.5,,", "2,,,,,,,,,,"]
    assert TELEMETRY.frame(tmp_path / "t.csv")["gpu_power_w"].tolist()[0] == 70.5


def test_a_cell_that_cannot_be_read_is_named_with_its_line(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text(REQUESTS.text([Row(0, "q", 0.0), Row(1, "q", 1.0)]).replace("1.000000000", "later"))
    with pytest.raises(RecordError, match=r"r\.csv, line 3: .* must be a number up to .*, got 'later'"):
        REQUESTS.read(path)


def test_statuses_are_a_closed_set():
    assert (
        *("ok", "rejected", "timeout", "http_error", "connection_error", "reset", "truncated", "bad_answer", "unsent"),
    ) == STATUSES


def test_f1_comes_back(tmp_path):
    path = tmp_path / "r.csv"
    row = Row(0, "q", 0.5, status="ok", exact_match=1.0, f1=0.75, recall_at_k=0.5, result="said")
    write_atomic(path, REQUESTS.text([row]))
    assert REQUESTS.read(path) == [row]
    assert REQUESTS.frame(path)["f1"].tolist() == [0.75]


def test_a_summary_has_every_column_or_is_refused(tmp_path):
    row = manifest("a", 1.0)
    row["summary"] |= {"f1": 0.25, "replica_seconds": 3.5, "reaction_s": 0.5}
    write_atomic(tmp_path / "s.csv", summary_csv([row]))
    (told,) = load_summary(tmp_path / "s.csv")[["f1", "replica_seconds", "reaction_s"]].to_numpy().tolist()
    assert told == [0.25, 3.5, 0.5]
    pd.read_csv(tmp_path / "s.csv").drop(columns="replicas").to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(RecordError, match=r"lacks the columns replicas$"):
        load_summary(tmp_path / "s.csv")


SWEEPS = [path for path in sorted(RESULTS.glob("*/summary.csv")) if path.read_text().startswith("point,")]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.parent.name)
def test_committed_summaries_can_be_read(path):
    assert len(load_summary(path))


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/*/requests.csv"))[:3], ids=lambda path: path.parent.name)
def test_committed_requests_can_be_read(path):
    assert len(REQUESTS.read(path)) == len(REQUESTS.frame(path)) > 0


def test_small_settings_keep_their_value():
    assert (
        summary_csv([manifest("a", 1.0, tiny=1e-9, on=True)])
        .splitlines()[1]
        .startswith("a-1.0,a,a,1e-09,true,ideal,1,")
    )


def test_missing_columns_are_named(tmp_path):
    path = tmp_path / "requests.csv"
    path.write_text(HEADER.replace("due_s,", "").replace(",error", "") + "\n")
    with pytest.raises(RecordError, match="lacks the columns due_s, error"):
        REQUESTS.frame(path)
    with pytest.raises(RecordError, match="there is no"):
        REQUESTS.frame(tmp_path / "absent.csv")
    path.write_text(REQUESTS.text([Row(0, "q", 0.0)]).replace("0.000000000", "soon"))
    with pytest.raises(RecordError, match="line 2: due_s must be a number"):
        REQUESTS.frame(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    write_atomic(path, "old")
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new, longer")
    assert path.read_text() == "old"


def test_a_manifest_is_whole_or_absent_or_named(tmp_path):
    path = tmp_path / "a-1.0" / "manifest.json"
    assert read_manifest(path) is None
    whole = manifest("a", 1.0)
    write_manifest(path, whole)
    found = read_manifest(path)
    assert found | {"summary": whole["summary"]} == whole
    assert found["summary"].items() >= whole["summary"].items()
    for text in ('{"point": {}}', '{"point": {}, "summ', "[]", ""):
        path.write_text(text)
        with pytest.raises(RecordError, match=r"a-1\.0/manifest\.json is damaged: .*"):
            read_manifest(path)


def test_a_manifest_with_numbers_that_json_has_not_can_still_be_read(tmp_path):
    path = tmp_path / "a-1.0" / "manifest.json"
    told = {"rates": [float("nan"), float("inf"), 1.5]}
    path.parent.mkdir()
    path.write_text(json.dumps(manifest("a", 1.0) | {"server_info": told}))
    found = read_manifest(path)
    assert found["server_info"] == {"rates": [None, None, 1.5]}
    write_manifest(path, found)
    assert read_manifest(path) == found


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("point", "offered_rps", 1e300),
        ("point", "offered_rps", -1),
        ("point", "concurrency", 3),
        ("point", "seed", True),
        ("point", "settings", {"x": []}),
        ("point", "arrival", None),
        ("summary", "verdict", "splendid"),
        ("summary", "throughput_rps", "7"),
        ("summary", "requests", 10**40),
        ("summary", "slo_met", 1),
        ("summary", "point", "b-1.0"),
    ],
)
def test_a_manifest_with_a_wrong_value_is_one_line(tmp_path, part, name, value):
    path = tmp_path / "a-1.0" / "manifest.json"
    told = manifest("a", 1.0)
    write_manifest(path, told | {part: told[part] | {name: value}})
    with pytest.raises(RecordError, match=rf"a-1\.0/manifest\.json is damaged: .*{name}.*"):
        read_manifests(tmp_path)


@pytest.mark.parametrize("point", [{"name": "a", "variant": "a"}, {}, "a", None])
def test_a_manifest_of_another_ragbench_is_named(tmp_path, point):
    path = tmp_path / "a" / "manifest.json"
    write_manifest(path, {"point": point, "summary": {}})
    with pytest.raises(RecordError, match=r"a/manifest\.json is not of this ragbench: its point has no .*design"):
        read_manifests(tmp_path)


def test_unfinished_folders_are_not_read(tmp_path):
    for folder in ("a-1.0", ".b.partial"):
        write_manifest(tmp_path / folder / "manifest.json", manifest("a", 1.0))
    assert [found["point"]["design"] for found in read_manifests(tmp_path)] == ["a"]
