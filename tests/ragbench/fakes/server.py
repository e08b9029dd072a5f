"""A server to test the harness against: `python server.py --mode slow --port 0`. Knows nothing of ragbench.

Each mode is one way in which a real server can behave or misbehave.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys

from aiohttp import web
from multidict import CIMultiDictProxy

MODES = (
    *(
        "normal",
        "slow",
        "bare",
        "never-ready",
        "dies-at-start",
        "dies-mid-load",
        "ignores-sigterm",
        "with-child",
        "with-daemon",
    ),
    *("garbage", "truncated", "refuses", "breaks", "hangs", "overloaded", "stalls"),
    *("some-break", "some-reset", "some-refuse", "some-hang", "one-text"),
)
WARMUP, STALL_AFTER_S, STALL_S = 8, 0.5, 2.0


class Fake:
    """One server in one mode. Serves requests one after another, `service_s` each."""

    def __init__(self, mode: str, service_s: float, *, said: str, share: float) -> None:
        self.mode = mode
        self.said = said
        self.share = share
        self.service_s = service_s
        self.asked = 0
        self.turn = asyncio.Lock()
        self.begun_s: float | None = None
        self.seen: set[str] = set()

    async def rag(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911  a mode each
        """POST /rag in this mode."""
        self.asked += 1
        body = await request.json()
        name = request.headers.get("X-Request-Id")
        if name in self.seen:
            return web.json_response({"detail": f"{name} came before"}, status=409)
        if name:
            self.seen.add(name)
        match self.mode:
            case "dies-mid-load" if self.asked > 20:
                print("the fake dies now", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            case "garbage":
                return web.Response(text="<html>not what you want</html>", content_type="text/html")
            case "truncated":
                return await self.truncated(request)
            case "refuses":
                return web.json_response({"detail": "queue full"}, status=429, headers={"Retry-After": "1"})
            case "breaks":
                return web.json_response({"detail": self.said}, status=500)
            case "some-break" if self.is_bad():
                return web.json_response({"detail": self.said}, status=500)
            case "some-reset" if self.is_bad():
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "some-refuse" if self.is_bad():
                return web.json_response({"detail": "queue full"}, status=429, headers={"Retry-After": "1"})
            case "some-hang" if self.is_bad():
                await asyncio.sleep(3600)
            case "hangs":
                await asyncio.sleep(3600)
        async with self.turn:
            await asyncio.sleep(self.service_s)
        await self.stall()
        return self.answer(body, request.headers)

    def is_bad(self) -> bool:
        """Whether this request is of the share that goes wrong, spread evenly, past the warm-up."""
        number = self.asked - WARMUP
        return number > 0 and int(number * self.share) > int((number - 1) * self.share)

    async def stall(self) -> None:
        """In mode `stalls`: no answer for STALL_S, from STALL_AFTER_S after the first request past the warm-up."""
        now_s = asyncio.get_running_loop().time()
        if self.mode != "stalls" or self.asked <= WARMUP:
            return
        self.begun_s = self.begun_s if self.begun_s is not None else now_s
        into_s = now_s - self.begun_s - STALL_AFTER_S
        if 0 <= into_s < STALL_S:
            await asyncio.sleep(STALL_S - into_s)

    def answer(self, body: dict, headers: CIMultiDictProxy[str]) -> web.Response:
        """The right answer, as its question asks for: the last word of the query. Its replica names its deadline."""
        result = body["query"].rstrip("?").split()[-1]
        if self.mode == "one-text":
            result = "Sorry, the model could not be reached."
        if self.mode == "bare":
            return web.json_response({"query": body["query"], "result": result})
        return web.json_response(
            {
                "query": body["query"],
                "result": result,
                "documents": [{"id": f"d-{result}", "text": "", "score": 1.0}],
                "model": "fake",
                "usage": {"prompt_tokens": 3, "completion_tokens": 1},
            },
            headers={
                "Server-Timing": "queue;dur=1.5, embed;dur=0.5, retrieve;dur=0.25, generate;dur=2",
                "X-Batch-Size": "1",
                "X-Replica": " ".join(["fake", *headers.getall("X-Request-Timeout-S", [])]),
                "X-Request-Id": headers.get("X-Request-Id", ""),
            },
        )

    async def truncated(self, request: web.Request) -> web.StreamResponse:
        """Promise 1000 bytes, send 9, hang up."""
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"result"')
        assert request.transport is not None
        request.transport.abort()
        return response


async def info(request: web.Request) -> web.Response:
    """GET /info."""
    return web.json_response({"design": "fake", "argv": sys.argv[1:]})


async def replicas(request: web.Request) -> web.Response:
    """GET /replicas."""
    states = ("ready", "ready", "starting")
    return web.json_response({"replicas": [{"url": "", "pid": 1, "state": s, "outstanding": 0} for s in states]})


async def scaling(request: web.Request) -> web.Response:
    """GET /scaling: a decision of an hour ago and one of just now; the start of a replica; a short window."""
    told = {"number": 1, "ready": 1, "starting": 0, "outstanding": 9, "queue_wait_p95_s": 0.5, "arrival_rps": 20.0}
    told |= {"target": 2, "reason": "queue wait"}
    starts = [{"age_s": 0.001, "start_s": 2.5}]
    return web.json_response(
        {
            "policy": "fake",
            "window_s": 0.25,
            "decisions": [{**told, "age_s": age_s} for age_s in (3600.0, 0.001)],
            "starts": starts,
        }
    )


async def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=MODES, default="normal")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--service-s", type=float, default=0.0)
    parser.add_argument("--share", type=float, default=0.0, help="of the requests, in modes some-...")
    parser.add_argument("--say", default="inside")  # in the log at the start, and as the error where it breaks
    parser.add_argument("--replicas", action="store_true")
    parser.add_argument("--scaling", action="store_true")
    options, _ = parser.parse_known_args()
    print(f"fake starts in mode {options.mode}", file=sys.stderr, flush=True)
    if options.say != "inside":
        print(options.say, file=sys.stderr, flush=True)
    if options.mode == "dies-at-start":
        sys.exit("no model here")
    end = asyncio.Event()
    ignored = options.mode == "ignores-sigterm"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, (lambda: None) if ignored else end.set)
    if options.mode == "with-child":
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        print(f"child {child.pid}", file=sys.stderr, flush=True)
    if options.mode == "with-daemon":
        leave = "import subprocess; print('daemon', subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
        subprocess.run([sys.executable, "-c", leave], stdout=sys.stderr, check=True, start_new_session=True)
    fake = Fake(options.mode, options.service_s, said=options.say, share=options.share)
    application = web.Application()
    application.router.add_post("/rag", fake.rag)
    application.router.add_get("/info", info)
    if options.replicas:
        application.router.add_get("/replicas", replicas)
    if options.scaling:
        application.router.add_get("/scaling", scaling)
    runner = web.AppRunner(application, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port)
    await site.start()
    if options.mode != "never-ready":
        ready = {"ready": True, "port": runner.addresses[0][1], "pid": os.getpid()}
        print(f"an ordinary line on stdout\n{json.dumps(ready)}", flush=True)
    await end.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
