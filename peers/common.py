"""What all peers share: settings, request and answer bodies, the ready line. Knows no framework."""

import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from servers.backend import Failure, run
from servers.engine import load_backend
from servers.http.endpoints import RAG
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings

_WARM_UP = {"query": "Which animals can hover in the air?"}
_POLL_S = 0.1


class PeerSettings(Settings):
    """What can be set on a framework's own batcher."""

    workers: int = Field(1, ge=1, description="processes with a pipeline each, where the framework has them")
    max_batch_size: int = Field(32, ge=1, description="the most requests in one batch")
    max_wait_s: float = Field(0.005, ge=0, description="how long the framework waits for a batch to fill")


class Rag:
    """The pipeline of the designs, which answers questions batch by batch."""

    def __init__(self, settings: Settings) -> None:
        self._backend = load_backend(settings)
        self._max_new_tokens = settings.max_new_tokens

    def question(self, request: Mapping[str, Any]) -> Ask:
        """The question in the body of a request."""
        return Ask(request["query"], request.get("k", 2), request.get("max_new_tokens") or self._max_new_tokens)

    def answers(self, questions: Sequence[Ask]) -> list[Answered | Failure]:
        """The answers to a batch, in order."""
        return run(self._backend, questions)


def body(answered: Answered | Failure) -> dict[str, Any]:
    """The body of an answer, as the designs send it. Raises RuntimeError on a Failure."""
    if isinstance(answered, Failure):
        raise RuntimeError(answered.text)  # noqa: TRY004  no caller's mistake
    return {
        "query": answered.query,
        "result": answered.result,
        "documents": [{"id": hit.id, "text": hit.text, "score": hit.score} for hit in answered.documents],
        "usage": {"prompt_tokens": answered.prompt_tokens, "completion_tokens": answered.completion_tokens},
    }


def free_port(port: int) -> int:
    """The port itself, or a free one for 0: not every framework reports the port it chose."""
    if port:
        return port
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def say_ready(port: int) -> None:
    """On a thread, print the ready line once a question is answered. The frameworks have no hook for that."""

    def watch() -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{RAG.path}",
            data=json.dumps(_WARM_UP).encode(),
            headers={"Content-Type": "application/json"},
        )
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60):  # noqa: S310
                    break
            except OSError:
                time.sleep(_POLL_S)
        print(json.dumps({"ready": True, "port": port, "pid": os.getpid()}), flush=True)

    threading.Thread(target=watch, name="ready", daemon=True).start()
