"""A design beside its pipeline alone: the command that times the pipeline, and what is made of both."""

from pathlib import Path

import pytest

from ragbench.files.toml_tables import StudyError
from ragbench.measure.limit import LIMIT, Turn, bare_argv, bare_rps, medians
from ragbench.study.points import Configuration


def test_the_pipeline_alone_gets_the_design_s_settings_and_its_cap_as_the_batch_size() -> None:
    design = Configuration("opt", {"profile": "opt-125m", "max_batch_size": 8}, command="python -m servers batched")
    argv = bare_argv("python -m bare", design, duration_s=2.5, out=Path("x.csv"), python="/py")
    assert argv == [
        *("/py", "-m", "bare", "--port", "0", "--profile", "opt-125m"),
        *("--batch-sizes", "[8]", "--duration-s", "2.5", "--out", "x.csv"),
    ]
    with pytest.raises(StudyError, match="max_batch_size is needed"):
        bare_argv("python -m bare", Configuration("x", {}), duration_s=1.0, out=Path("x"), python="/py")


def test_requests_per_second_are_over_all_batches(tmp_path: Path) -> None:
    file = tmp_path / "bare.csv"
    file.write_text("batch_size,run,total_s\n8,1,0.1\n8,2,0.3\n")
    assert bare_rps(file) == pytest.approx(40.0)


def turn(seed: int, bare: float, served: float) -> Turn:
    return Turn("tiny", 32, 64, seed, bare, served)


def test_medians_of_both_make_the_ratio() -> None:
    [(name, turns, both)] = medians([turn(1, 100.0, 90.0), turn(2, 200.0, 99.0), turn(3, 110.0, 120.0)])
    assert (name, turns, both.bare_rps, both.served_rps) == ("tiny, 64 users", 3, 110.0, 99.0)
    assert both.ratio == pytest.approx(0.9)


def test_the_file_has_a_row_a_turn() -> None:
    assert LIMIT.text([turn(1, 100.0, 90.0)]) == (
        "configuration,max_batch_size,users,seed,bare_rps,served_rps,ratio\ntiny,32,64,1,100.00,90.00,0.9000\n"
    )
