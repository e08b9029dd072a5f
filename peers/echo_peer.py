"""A bare Starlette route that gives a fixed answer: what one Python process can do over HTTP at all."""

import json

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from peers.common import PeerSettings, body, say_ready
from servers.http.endpoints import RAG
from servers.rag.pipeline import Answered, Hit


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped. Has no pipeline."""
    echo = json.dumps(body(Answered("an echo", "an echo", (Hit("0", "a document", 1.0),), 1, 1, {}))).encode()

    async def rag(request: Request) -> Response:
        await request.body()
        return Response(echo, media_type="application/json")

    say_ready(port)
    app = Starlette(routes=[Route(RAG.path, rag, methods=["POST"])])
    uvicorn.run(app, host=settings.host, port=port, log_level="warning", access_log=False)
