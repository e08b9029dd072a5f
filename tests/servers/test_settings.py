"""Settings: the rank of flags, variables, file and defaults, and what a mistake says."""

from pathlib import Path

import pytest

from servers.batched import BatchedSettings
from servers.scaled import ScaledSettings, replica_command
from servers.settings import Settings, SettingsError, flags, load


def test_flags_outrank_variables_outrank_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("port = 1\nmax_k = 2\nseed = 3\n")
    monkeypatch.setenv("RAG_PORT", "10")
    monkeypatch.setenv("RAG_MAX_K", "20")
    settings = load(Settings, ["--config", str(path), "--port", "100"], prog="test")
    assert (settings.port, settings.max_k, settings.seed, settings.threads) == (100, 20, 3, None)


def test_an_unknown_key_of_the_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("max_batch = 4\n")
    with pytest.raises(SettingsError, match="max_batch: Extra inputs are not permitted"):
        load(BatchedSettings, ["--config", str(path)], prog="test")


def test_an_unknown_variable_is_an_error_unless_another_design_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_MIN_REPLICAS", "2")
    load(Settings, [], prog="test", known=["min_replicas"])
    with pytest.raises(SettingsError, match="unknown variables RAG_MIN_REPLICAS; valid are RAG_CACHE_DIR"):
        load(Settings, [], prog="test")


def test_an_unknown_flag_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        load(Settings, ["--max-batch-size", "4"], prog="test")
    assert stopped.value.code == 2
    assert "unrecognized arguments: --max-batch-size" in capsys.readouterr().err


def test_a_value_out_of_range_says_what_was_wanted_and_got() -> None:
    with pytest.raises(SettingsError, match=r"max_batch_size: .*greater than or equal to 1, got '0'"):
        load(BatchedSettings, ["--max-batch-size", "0"], prog="test")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nowhere.toml: .*No such file"):
        load(Settings, ["--config", "nowhere.toml"], prog="test")


def test_flags_give_back_what_differs_from_the_defaults() -> None:
    settings = load(
        BatchedSettings, ["--max-batch-size", "8", "--stop-with-parent", "--corpus-size", "50"], prog="test"
    )
    line = flags(settings, of=BatchedSettings)
    assert line == ["--stop-with-parent", "--corpus-size", "50", "--max-batch-size", "8"]
    assert load(BatchedSettings, line, prog="test") == settings


def test_a_replica_gets_the_settings_of_batched_and_none_of_the_fleet() -> None:
    settings = load(ScaledSettings, ["--max-batch-size", "8", "--min-replicas", "1", "--port", "7"], prog="test")
    assert replica_command(settings)[1:] == ["-m", "servers", "batched", "--max-batch-size", "8", "--drain-s", "2.5"]


def test_secrets_are_not_public() -> None:
    settings = load(ScaledSettings, ["--admin-token", "hush"], prog="test")
    assert "hush" not in str(settings.public())
