"""CUDA_VISIBLE_DEVICES as CUDA reads it."""

import pytest

from policies.devices import named


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("", ()),
        ("0", ("0",)),
        ("3, 1", ("3", "1")),
        ("0,-1,1", ("0",)),
        ("NoDevFiles", ()),
        ("GPU-8932f937,none,0", ("GPU-8932f937",)),
        ("MIG-8932f937", ("MIG-8932f937",)),
        ("MIG-GPU-8932f937/1/0", ("MIG-GPU-8932f937/1/0",)),
        ("1,1,0", ("1", "0")),
        ("GPU-", ()),
    ],
)
def test_names_up_to_the_first_that_is_none(visible: str, names: tuple[str, ...]) -> None:
    assert named(visible) == names
