"""Ray Serve: `@serve.batch` in one replica, the pipeline on a thread beside its event loop."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray import serve as ray_serve
from starlette.requests import Request

from peers.common import PeerSettings, Rag, body, say_ready
from servers.backend import Failure
from servers.http.endpoints import RAG
from servers.rag.pipeline import Answered, Ask


class Replica:
    """One replica."""

    def __init__(self, settings: PeerSettings) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)  # a blocking call on its loop would stop its queue too
        self._rag = self._thread.submit(Rag, settings).result()
        self._run.set_max_batch_size(settings.max_batch_size)
        self._run.set_batch_wait_timeout_s(settings.max_wait_s)

    @ray_serve.batch
    async def _run(self, questions: list[Ask]) -> list[Answered | Failure]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._rag.answers, questions)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """`POST /rag`."""
        answered: Answered | Failure = await self._run(self._rag.question(await request.json()))
        return body(answered)


def serve(settings: PeerSettings, port: int) -> None:
    """Serve until stopped."""
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    ray.init(
        include_dashboard=False,
        configure_logging=False,
        num_cpus=max(2, settings.workers),
        object_store_memory=100 * 2**20,
    )
    ray_serve.start(http_options={"host": settings.host, "port": port})
    deployment = ray_serve.deployment(
        Replica,
        num_replicas=settings.workers,
        max_ongoing_requests=4 * settings.max_batch_size,
        ray_actor_options={"num_cpus": 1},
    )
    ray_serve.run(deployment.bind(settings), route_prefix=RAG.path)
    say_ready(port)
    signal.sigwait(stop)
    ray_serve.shutdown()
    ray.shutdown()
