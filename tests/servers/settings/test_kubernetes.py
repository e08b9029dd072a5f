"""A Kubernetes service named like ours: its variables are no settings, and stop no server."""

from pathlib import Path

import pytest

from servers.settings import Settings, SettingsError, load
from servers.settings.kubernetes import service_variables
from tests.servers.running import running

OF_RAG = {
    "RAG_PORT": "tcp://10.0.0.1:8000",
    "RAG_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "RAG_PORT_8000_TCP_ADDR": "10.0.0.1",
    "RAG_PORT_8000_TCP_PORT": "8000",
    "RAG_PORT_8000_TCP_PROTO": "tcp",
    "RAG_SERVICE_HOST": "10.0.0.1",
    "RAG_SERVICE_PORT": "8000",
    "RAG_SERVICE_PORT_HTTP": "8000",
}
OF_OTHERS = {
    "RAG_API_PORT": "tcp://[fd00::1]:80",
    "RAG_API_PORT_53_UDP": "udp://[fd00::1]:53",
    "RAG_API_PORT_53_UDP_ADDR": "fd00::1",
    "RAG_API_SERVICE_HOST": "fd00::1",
    "RAG_API_SERVICE_PORT_HTTP_METRICS": "9000",
    "RAG_BASE_PORT": "tcp://10.0.0.2:80",
}


def test_variables_of_services_are_known_by_name_and_value() -> None:
    ours = {"RAG_PORT": "8000", "RAG_BASE_PORT": "1", "RAG_SERVICE_PORT": "tcp", "RAG_HOST": "10.0.0.1", "RAG_X": "80"}
    assert service_variables({**OF_RAG, **OF_OTHERS}, prefix="RAG_") == sorted({**OF_RAG, **OF_OTHERS})
    assert service_variables({**ours, "PORT": "tcp://10.0.0.1:1"}, prefix="RAG_") == []


def test_they_are_no_settings_and_hide_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("port = 4021\n")
    for name, value in {**OF_RAG, **OF_OTHERS}.items():
        monkeypatch.setenv(name, value)
    assert load(Settings, [], prog="test").port == 8000
    assert load(Settings, ["--config", str(path)], prog="test").port == 4021
    assert load(Settings, ["--port", "7"], prog="test").port == 7
    assert Settings().port == 8000


def test_a_wrong_value_of_our_own_is_still_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_PORT", "http://10.0.0.1:8000")
    with pytest.raises(SettingsError, match="port: "):
        load(Settings, [], prog="test")
    monkeypatch.setenv("RAG_PORT", "8000")
    monkeypatch.setenv("RAG_SERVICE_HOST", "nowhere")
    with pytest.raises(SettingsError, match="unknown variables RAG_SERVICE_HOST"):
        load(Settings, [], prog="test")


@pytest.mark.slow
async def test_a_server_says_once_what_it_ignores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in OF_RAG.items():
        monkeypatch.setenv(name, value)
    flags = ["--profile", "stub", "--base-port", "18960", "--min-replicas", "1", "--max-replicas", "1"]
    async with running(tmp_path, "scaled", *flags) as (_, client):
        assert (await client.get("/ready")).status_code == 200
    [line] = [line for line in (tmp_path / "scaled.log").read_text().splitlines() if "Kubernetes" in line]
    assert ", ".join(OF_RAG) in line
