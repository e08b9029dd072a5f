"""HAProxy in front of `workers` batched servers: the balancer of `scaled` beside the fastest there is.

It retries what cannot have been begun, and knows neither deadlines nor request ids.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from peers.common import PeerSettings, say_ready
from servers.settings import Settings, flags

_CONFIG = """
global
  maxconn 4096
  nbthread 1
defaults
  mode http
  timeout connect 2s
  timeout client 75s
  timeout server {timeout_s}s
  retries 2
  option redispatch 1
frontend front
  bind {host}:{port}
  default_backend replicas
backend replicas
  balance leastconn
  http-reuse always
"""
_OWN = ("port", "replica", "stop_with_parent")


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped, and stop the replicas. Raises ModuleNotFoundError without HAProxy."""
    program = shutil.which("haproxy")
    if program is None:
        raise ModuleNotFoundError("there is no haproxy on PATH")
    command = [sys.executable, "-m", "servers", "batched", *flags(settings, of=Settings, leave_out=_OWN)]
    command += ["--port", "0", "--stop-with-parent", "--max-batch-size", str(settings.max_batch_size)]
    replicas = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(settings.workers)
    ]
    with tempfile.TemporaryDirectory() as folder:
        try:
            config = Path(folder, "haproxy.cfg")
            config.write_text(_config(settings, port, [_port(replica) for replica in replicas]), encoding="utf-8")
            front = subprocess.Popen([program, "-q", "-db", "-f", str(config)])
            signal.signal(signal.SIGTERM, lambda *_: front.terminate())
            say_ready(port)
            try:
                front.wait()
            except KeyboardInterrupt:
                front.terminate()
                front.wait()
        finally:
            for replica in replicas:
                replica.terminate()
            for replica in replicas:
                replica.wait()


def _port(replica: subprocess.Popen[bytes]) -> int:
    line = b"" if replica.stdout is None else replica.stdout.readline()
    return int(json.loads(line)["port"])


def _config(settings: PeerSettings, port: int, replicas: Sequence[int]) -> str:
    text = _CONFIG.format(host=settings.host, port=port, timeout_s=round(settings.request_timeout_s))
    return text + "".join(f"  server r{each} {settings.host}:{each}\n" for each in replicas)
