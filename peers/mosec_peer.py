"""Mosec: a front in Rust, a worker process with the pipeline, batches by size and wait."""

import os
import sys
from typing import Any

import mosec

from peers.common import PeerSettings, Rag, body, say_ready
from servers.http.endpoints import RAG

_ENV = "RAGBENCH_MOSEC"  # carries the settings to the worker, which is a new process


class Worker(mosec.Worker):
    """Bodies in, bodies out; lists of them where batches are on."""

    def __init__(self) -> None:
        self._rag = Rag(PeerSettings.model_validate_json(os.environ[_ENV]))

    def forward(self, data: Any) -> Any:
        """Answer a batch, or one question."""
        questions = [self._rag.question(request) for request in (data if isinstance(data, list) else [data])]
        answers = [body(answered) for answered in self._rag.answers(questions)]
        return answers if isinstance(data, list) else answers[0]


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped."""
    os.environ[_ENV] = settings.model_dump_json()
    timeout_ms = round(settings.request_timeout_s * 1000)  # its own default is 3 s
    flags = {"address": settings.host, "port": port, "timeout": timeout_ms, "log-level": "warning"}
    sys.argv[1:] = [f"--{name}={value}" for name, value in flags.items()]
    server = mosec.Server()
    server.append_worker(
        Worker,
        num=settings.workers,
        max_batch_size=settings.max_batch_size,
        max_wait_time=max(1, round(settings.max_wait_s * 1000)) if settings.max_batch_size > 1 else 0,
        timeout=settings.request_timeout_s,
        route=RAG.path,
    )
    say_ready(port)
    server.run()
