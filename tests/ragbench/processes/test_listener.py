import socket

import psutil

from ragbench.processes.launch import Remote
from ragbench.processes.listener import listener
from tests.ragbench.running import FAKE


def test_the_server_somebody_else_started(elsewhere):
    pid = listener(f"{elsewhere}/rag")
    assert str(FAKE) in psutil.Process(pid).cmdline()
    assert Remote(elsewhere).pid == pid
    assert listener(elsewhere.replace("127.0.0.1", "localhost")) == pid


def test_nobody_listens_there_or_it_is_elsewhere(elsewhere):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert listener(f"http://127.0.0.1:{bound.getsockname()[1]}") is None
    assert listener(elsewhere.replace("127.0.0.1", "192.0.2.1")) is None
    assert listener("http://192.0.2.1") is None


def test_where_the_sockets_cannot_be_seen(elsewhere, monkeypatch):
    def refuse(kind):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert listener(elsewhere) is None
