"""FastAPI and uvicorn as their tutorials have it: a plain function on the thread pool, the pipeline behind a lock."""

from threading import Lock
from typing import Any

import uvicorn
from fastapi import FastAPI

from peers.common import PeerSettings, ask, say_ready, wire
from servers.backend import run
from servers.engine import load_backend
from servers.http.endpoints import RAG
from servers.http.wire import Question


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped. Does not batch."""
    backend, turn, app = load_backend(settings), Lock(), FastAPI()

    @app.post(RAG.path)
    def rag(question: Question) -> dict[str, Any]:
        asked = ask(question.model_dump(), settings)
        with turn:
            return wire(run(backend, [asked])[0])

    say_ready(port)
    uvicorn.run(app, host=settings.host, port=port, log_level="warning", access_log=False)
