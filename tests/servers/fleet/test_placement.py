"""Which GPUs there are by the environment or the machine's devices, and which one is next."""

from pathlib import Path

import pytest

from servers.fleet.placement import least_used, visible_gpus


@pytest.mark.parametrize(
    ("named", "gpus"),
    [
        ("0,2", ["0", "2"]),
        (" GPU-a , 1", ["GPU-a", "1"]),
        ("MIG-a,MIG-GPU-b/1/0", ["MIG-a", "MIG-GPU-b/1/0"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["0"]),
        ("1,,0", ["1"]),
        ("0,gpu1", ["0"]),
        ("2,2", ["2"]),
    ],
)
def test_the_environment_names_them_up_to_the_first_that_is_none(named: str, gpus: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": named}) == gpus


def test_otherwise_they_are_as_many_as_the_machine_has_devices_in_cudas_numbers(tmp_path: Path) -> None:
    """A container that was given GPU 3 has /dev/nvidia3, which CUDA calls 0."""
    assert visible_gpus({}, tmp_path) == []
    (tmp_path / "nvidia3").touch()
    assert visible_gpus({}, tmp_path) == ["0"]
    for name in ("nvidia10", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ["0", "1"]


def test_the_least_used_is_next_and_there_may_be_none() -> None:
    assert least_used(["0", "1"], ["0", None, "1", "0"]) == "1"
    assert least_used(["0", "1"], []) == "0"
    assert least_used([], ["0"]) is None
