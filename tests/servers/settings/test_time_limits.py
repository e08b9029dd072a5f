"""All time limits in one value: what is not set follows from the others, and what contradicts them is refused."""

import pytest

from servers.batched import BatchedSettings
from servers.scaled import ScaledSettings, replica_start
from servers.settings import Settings, SettingsError, load
from servers.settings.time_limits import TimeLimits


def test_a_hang_is_noticed_before_a_try_ends_and_a_try_before_its_request() -> None:
    assert ScaledSettings().time_limits == TimeLimits(5.0, 30.0, 60.0)
    assert ScaledSettings(request_timeout_s=2.0).time_limits == TimeLimits(1.0, 2.0, 2.0)
    assert Settings(request_timeout_s=8.0).time_limits == TimeLimits(4.0, 8.0, 8.0)
    assert ScaledSettings(try_timeout_s=4.0, hang_s=3.0).time_limits == TimeLimits(3.0, 4.0, 60.0)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (["--hang-s", "60"], "60, 30, 60"),
        (["--hang-s", "30"], "30, 30, 60"),
        (["--try-timeout-s", "61"], "5, 61, 60"),
    ],
)
def test_limits_that_contradict_each_other_are_refused_at_the_start(given: list[str], got: str) -> None:
    with pytest.raises(SettingsError, match=f"hang_s < try_timeout_s <= request_timeout_s must hold, got {got}"):
        load(ScaledSettings, given, prog="scaled")


def test_a_design_without_tries_is_told_nothing_of_them() -> None:
    with pytest.raises(SettingsError, match=r"0 < hang_s < request_timeout_s must hold, got 60 and 60$"):
        load(BatchedSettings, ["--hang-s", "60"], prog="batched")


def test_a_replica_gets_the_fleet_s_own_limits() -> None:
    command = list(replica_start(ScaledSettings(try_timeout_s=4.0)).command)
    settings = load(BatchedSettings, command[command.index("batched") + 1 :], prog="batched")
    assert settings.time_limits.hang_s == 2.0
