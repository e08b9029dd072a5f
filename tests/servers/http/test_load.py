"""The header X-Load, there and back, and what is not one."""

import pytest

from servers.http.headers import Told, read_load, told_load


def test_what_is_told_is_read() -> None:
    assert read_load(told_load(3, 0.12)) == Told(3, 0.12)
    assert read_load(told_load(0, None)) == Told(0, None)


@pytest.mark.parametrize("odd", [None, "", "3", "outstanding=-1", "outstanding=1;wait_s=nan", "outstanding=1;x=2"])
def test_anything_else_says_nothing(odd: str | None) -> None:
    assert read_load(odd) is None
