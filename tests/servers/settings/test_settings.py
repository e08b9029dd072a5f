"""Settings: the rank of flags, variables, file and defaults, and what a mistake says."""

from pathlib import Path

import pytest

from policies import batching, scaling
from servers.batched import BatchedSettings
from servers.scaled import ScaledSettings, create, replica_start
from servers.settings import Settings, SettingsError, chosen, flags, load


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
    with pytest.raises(
        SettingsError, match="unknown variables RAG_MIN_REPLICAS; valid are RAG_ACCESS_LOG, RAG_API_KEY, RAG_BACKEND"
    ):
        load(Settings, [], prog="test")


def test_an_unknown_flag_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        load(Settings, ["--max-batch-size", "4"], prog="test")
    assert stopped.value.code == 2
    assert "unrecognized arguments: --max-batch-size" in capsys.readouterr().err


def test_a_value_out_of_range_says_what_was_wanted_and_got() -> None:
    with pytest.raises(SettingsError, match=r"max_batch_size: .*greater than or equal to 1, got '0'"):
        load(BatchedSettings, ["--max-batch-size", "0"], prog="test")


@pytest.mark.attack
@pytest.mark.parametrize("name", ["größer", "a b", "a\nb", "", "\x01", "a" * 101])
def test_a_replica_is_named_as_a_header_can_carry_it(name: str) -> None:
    with pytest.raises(SettingsError, match="replica: String should match"):
        load(Settings, ["--replica", name], prog="test")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nowhere.toml: .*No such file"):
        load(Settings, ["--config", "nowhere.toml"], prog="test")


def test_flags_give_the_settings_back_whatever_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        BatchedSettings, ["--max-batch-size", "32", "--stop-with-parent", "--corpus-size", "50"], prog="test"
    )
    line = flags(settings, of=BatchedSettings)
    assert "--stop-with-parent" in line
    assert "--threads" not in line
    monkeypatch.setenv("RAG_MAX_BATCH_SIZE", "8")
    assert load(BatchedSettings, line, prog="test") == settings


def test_a_policy_is_made_of_the_settings_called_like_its_parameters() -> None:
    settings = load(BatchedSettings, ["--policy", "late_binding", "--lull-s", "0.25"], prog="test")
    made = chosen("policy", batching.POLICIES, settings)
    assert made == batching.LateBinding(max_batch_size=32, max_wait_s=0.05, lull_s=0.25)
    table = {"mine": lambda seed, *, extra: (seed, extra)}
    assert chosen("policy", table, BatchedSettings(policy="mine", seed=7), extra="given") == (7, "given")
    with pytest.raises(ValueError, match="policy must be one of mine, got 'late_binding'"):
        chosen("policy", table, settings)


@pytest.mark.parametrize("name", scaling.POLICIES)
def test_every_scaling_policy_can_be_chosen(name: str) -> None:
    create(ScaledSettings(scaling=name))


def test_a_replica_gets_the_settings_of_batched_and_none_of_the_fleet() -> None:
    settings = load(ScaledSettings, ["--max-batch-size", "8", "--min-replicas", "1", "--port", "7"], prog="test")
    command = list(replica_start(settings).command)
    assert command[1:4] == ["-m", "servers", "batched"]
    assert command[command.index("--max-batch-size") + 1] == "8"
    assert command[-2:] == ["--drain-s", "2.5"]
    assert not {"--port", "--min-replicas", "--replica", "--stop-with-parent"} & set(command)


@pytest.mark.parametrize(
    ("flags", "visible", "device", "gpus"),
    [
        ([], "0,1", "cuda", ["0", "1"]),
        ([], "", "auto", []),
        (["--device", "cpu"], "0,1", "cpu", []),
        (["--device", "cuda"], "-1", "cuda", []),
    ],
)
def test_a_replica_that_is_given_a_gpu_may_not_run_without_it(
    flags: list[str], visible: str, device: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    start = replica_start(load(ScaledSettings, flags, prog="test"))
    command = list(start.command)
    assert command.count("--device") == 1
    assert (command[command.index("--device") + 1], list(start.gpus)) == (device, gpus)


def test_secrets_are_neither_public_nor_on_a_command_line_nor_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_API_KEY", "hush-1")
    monkeypatch.setenv("RAG_ADMIN_TOKEN", "hush-2")
    settings = load(ScaledSettings, [], prog="test")
    assert settings.keys() == ("hush-1", "hush-2")
    told = [
        settings.public(),
        replica_start(settings),
        replica_start(settings).command,
        flags(settings, of=ScaledSettings),
    ]
    assert "hush" not in str(told)
    assert ScaledSettings(api_key=None, admin_token="hush").keys() == ()  # open to all, but for the admin's routes
    monkeypatch.setenv("RAG_API_KEY", "hush hush")
    with pytest.raises(SettingsError, match="api_key: String should match") as caught:
        load(ScaledSettings, [], prog="test")
    assert "hush" not in str(caught.value)


def test_settings_that_contradict_each_other_are_told_without_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_API_KEY", "hush")
    with pytest.raises(SettingsError) as caught:
        load(ScaledSettings, ["--hang-s", "40"], prog="test")
    assert str(caught.value) == "0 < hang_s < try_timeout_s <= request_timeout_s must hold, got 40, 30, 60"


def test_an_empty_key_is_an_error_and_no_open_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_API_KEY", "")
    with pytest.raises(SettingsError, match="api_key"):
        load(Settings, [], prog="test")


def test_a_file_is_utf_8_with_or_without_a_byte_order_mark(tmp_path, capsys):
    file = tmp_path / "c.toml"
    text = "port = 4021  # größer\n"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(Settings, ["--config", str(file)], prog="x").port == 4021
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"--config .*c\.toml: wanted UTF-8"):
        load(Settings, ["--config", str(file)], prog="x")
    file.write_text(f"port = {'9' * 5000}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"--config .*c\.toml: "):
        load(Settings, ["--config", str(file)], prog="x")
