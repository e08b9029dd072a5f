"""LitServe: a worker process with the pipeline, batches by size and time-out, one API server."""

from collections.abc import Sequence
from typing import Any

import litserve

from peers.common import PeerSettings, ask, say_ready, wire
from servers.backend import Failure, run
from servers.engine import load_backend
from servers.http.endpoints import RAG
from servers.rag.pipeline import Answered, Ask


class Rag(litserve.LitAPI):
    """One question a request; LitServe hands over lists of them where batches are on."""

    def __init__(self, settings: PeerSettings) -> None:
        super().__init__(max_batch_size=settings.max_batch_size, batch_timeout=settings.max_wait_s, api_path=RAG.path)
        self._settings = settings
        self._is_batched = settings.max_batch_size > 1

    def setup(self, device: str) -> None:
        """Load the pipeline in the worker."""
        self._backend = load_backend(self._settings)

    def decode_request(self, request: dict[str, Any]) -> Ask:
        """A question from a request body."""
        return ask(request, self._settings)

    def predict(self, asked: Sequence[Ask] | Ask) -> Sequence[Answered | Failure] | Answered | Failure:
        """Answer a batch, or one question."""
        if isinstance(asked, Ask):
            return run(self._backend, [asked])[0]
        return run(self._backend, list(asked))

    def batch(self, inputs: list[Ask]) -> list[Ask]:
        """A batch of inputs, unchanged: LitServe would try to stack them."""
        return inputs

    def unbatch(self, output: Sequence[Answered | Failure]) -> list[Answered | Failure]:
        """A batch of outputs, unchanged."""
        return list(output)

    def encode_response(self, output: Answered | Failure) -> dict[str, Any]:
        """The body of an answer."""
        return wire(output)


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped."""
    server = litserve.LitServer(
        Rag(settings), accelerator="cpu", workers_per_device=settings.workers, timeout=settings.request_timeout_s
    )
    say_ready(port)
    server.run(host=settings.host, port=port, num_api_servers=1, generate_client_file=False, log_level="warning")
