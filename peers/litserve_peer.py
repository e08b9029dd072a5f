"""LitServe: a worker process with the pipeline, batches by size and time-out, one API server."""

from typing import Any

import litserve

from peers.common import PeerSettings, Rag, body, say_ready
from servers.backend import Failure
from servers.http.endpoints import RAG
from servers.rag.pipeline import Answered, Ask


class Api(litserve.LitAPI):
    """One question a request; LitServe hands over lists of them where batches are on."""

    def __init__(self, settings: PeerSettings) -> None:
        super().__init__(max_batch_size=settings.max_batch_size, batch_timeout=settings.max_wait_s, api_path=RAG.path)
        self._settings = settings

    def setup(self, device: str) -> None:
        """Load the pipeline in the worker."""
        self._rag = Rag(self._settings)

    def decode_request(self, request: dict[str, Any]) -> Ask:
        """The question in the body of a request."""
        return self._rag.question(request)

    def predict(self, x: list[Ask] | Ask) -> list[Answered | Failure] | Answered | Failure:
        """Answer a batch, or one question."""
        return self._rag.answers(x) if isinstance(x, list) else self._rag.answers([x])[0]

    def encode_response(self, output: Answered | Failure) -> dict[str, Any]:
        """The body of an answer."""
        return body(output)


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped."""
    server = litserve.LitServer(
        Api(settings), accelerator="cpu", workers_per_device=settings.workers, timeout=settings.request_timeout_s
    )
    say_ready(port)
    server.run(host=settings.host, port=port, num_api_servers=1, generate_client_file=False, log_level="warning")
