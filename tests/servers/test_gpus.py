"""Which GPUs there are by the environment or the machine's devices, and which one is next."""

from pathlib import Path

import pytest

from servers.gpus import least_used, visible_gpus


@pytest.mark.parametrize(
    ("named", "gpus"), [("0,2", ["0", "2"]), (" GPU-a , 1", ["GPU-a", "1"]), ("", []), ("-1", []), ("NoDevFiles", [])]
)
def test_the_environment_names_them(named: str, gpus: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": named}) == gpus


def test_otherwise_they_are_the_machines_devices(tmp_path: Path) -> None:
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ["2", "10"]
    assert visible_gpus({}, tmp_path / "none") == []


def test_the_least_used_is_next_and_there_may_be_none() -> None:
    assert least_used(["0", "1"], ["0", None, "1", "0"]) == "1"
    assert least_used(["0", "1"], []) == "0"
    assert least_used([], ["0"]) is None
