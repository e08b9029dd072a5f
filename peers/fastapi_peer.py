"""FastAPI and uvicorn as their tutorials have it: a plain function on the thread pool, the pipeline behind a lock."""

from threading import Lock
from typing import Any

import uvicorn
from fastapi import FastAPI

from peers.common import PeerSettings, Rag, body, say_ready
from servers.http.endpoints import RAG
from servers.http.wire import Question


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped. Does not batch."""
    pipeline, lock, app = Rag(settings), Lock(), FastAPI()

    @app.post(RAG.path)
    def rag(question: Question) -> dict[str, Any]:
        with lock:
            return body(pipeline.answers([pipeline.question(question.model_dump())])[0])

    say_ready(port)
    uvicorn.run(app, host=settings.host, port=port, log_level="warning", access_log=False)
