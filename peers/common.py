"""What all peers share: settings, request and answer bodies, the ready line. Knows no framework."""

import json
import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from servers.backend import Failure
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


def ask(question: Mapping[str, Any], settings: Settings) -> Ask:
    """A request's body as the pipeline takes it."""
    return Ask(question["query"], question.get("k", 2), question.get("max_new_tokens") or settings.max_new_tokens)


def wire(answered: Answered | Failure) -> dict[str, Any]:
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
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
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
    sys.stdout.flush()
