"""The pipeline with no server round it: what is timed, printed and kept, and the machine's rates under that."""

import csv
from pathlib import Path

import pytest
import torch

from servers.measure import pipeline
from servers.measure.roofline import Pass, Rates, counted
from servers.rag.pipeline import STAGES


def test_a_row_a_batch_and_a_table_with_the_share_of_the_floor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "runs.csv"
    argv = ["--batch-sizes", "[1,4]", "--duration-s", "0.01", "--corpus-size", "200", "--cache-dir", str(tmp_path)]
    assert pipeline.main([*argv, "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert sorted((int(row["batch_size"]), int(row["run"])) for row in rows) == [
        (n, r) for n in (1, 4) for r in (1, 2, 3)
    ]
    for row in rows:
        assert sum(float(row[f"{stage}_s"]) for stage in STAGES) <= float(row["total_s"])
        assert 0 < float(row["generate_floor_s"]) < float(row["generate_s"])
    printed = capsys.readouterr().out
    assert "GFLOP/s in a product of 1024 x 1024" in printed
    assert len([line for line in printed.splitlines() if line.strip().startswith(("1 ", "4 "))]) == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--profile", "stub"], "limit: --profile stub has no stages to time"),
        (["--batch-sizes", "[0]"], "batch_sizes.0: Input should be greater than 0, got 0"),
        (["--profile", "no"], "profile must be one of"),
    ],
)
def test_what_cannot_be_timed_is_one_line(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.main(argv) == 2
    assert said in capsys.readouterr().err


def test_operations_and_weights_of_each_pass_are_counted() -> None:
    layer = torch.nn.Linear(8, 16, bias=False)
    with counted(layer) as passes, torch.inference_mode():
        layer(torch.zeros(4, 8))
        layer(torch.zeros(1, 8))
    assert passes == [Pass(2 * 4 * 8 * 16, 8 * 16 * 4), Pass(2 * 8 * 16, 8 * 16 * 4)]


def test_the_floor_of_a_pass_is_the_slower_of_its_two_needs() -> None:
    rates = Rates("cpu", torch.float32)
    rates.flops_per_s = 1e9
    rates._bytes_per_s = {1000: 1e6, 8: 1e9}
    assert rates.floor_s([Pass(1e6, 1000), Pass(5e6, 1000), Pass(1e9, 8)]) == pytest.approx(0.001 + 0.005 + 1.0)
    assert Rates("cpu", torch.float32).bytes_per_s(1 << 20) > 1e8
