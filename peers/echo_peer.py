"""A bare Starlette route that gives a fixed answer: what one Python process can do over HTTP at all."""

import json

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from peers.common import PeerSettings, say_ready, wire
from servers.backend import run
from servers.http.endpoints import RAG
from servers.rag.fakes import Stub
from servers.rag.pipeline import Ask


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped. Has no pipeline."""
    body = json.dumps(wire(run(Stub(0.0, 0.0), [Ask("an echo", 2, 1)])[0])).encode()

    async def rag(request: Request) -> Response:
        await request.body()
        return Response(body, media_type="application/json")

    say_ready(port)
    app = Starlette(routes=[Route(RAG.path, rag, methods=["POST"])])
    uvicorn.run(app, host=settings.host, port=port, log_level="warning", access_log=False)
