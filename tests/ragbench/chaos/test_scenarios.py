import pytest

from ragbench.chaos.scenarios import SCENARIOS, names_of
from ragbench.files.toml_tables import StudyError


def test_all_are_played_unless_some_are_named():
    assert names_of([], platform="linux") == list(SCENARIOS)
    assert names_of(["stop", "kill"], platform="linux") == ["stop", "kill"]


def test_what_only_linux_can_play_is_left_out_elsewhere_and_refused_by_name():
    assert "disk_full" not in names_of([], platform="darwin")
    with pytest.raises(StudyError, match="disk_full needs /dev/full, which only Linux has"):
        names_of(["kill", "disk_full"], platform="darwin")


def test_an_unknown_name_is_told_with_those_there_are():
    with pytest.raises(StudyError, match="unknown scenario kil; there are kill, stop, "):
        names_of(["kil"], platform="linux")
