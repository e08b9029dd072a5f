"""The header X-Load, there and back, and what is not one."""

import pytest

from servers.http.headers import ReportedLoad, format_load, read_load


def test_what_is_told_is_read() -> None:
    assert read_load(format_load(3, 0.12)) == ReportedLoad(3, 0.12)
    assert read_load(format_load(0, None)) == ReportedLoad(0, None)


@pytest.mark.parametrize("odd", [None, "", "3", "outstanding=-1", "outstanding=1;wait_s=nan", "outstanding=1;x=2"])
def test_anything_else_says_nothing(odd: str | None) -> None:
    assert read_load(odd) is None
