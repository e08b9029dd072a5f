"""A server whose answers take a known time.

`python -m ragbench.calibration.server --service exponential --mean-s 0.02`. Service is a timer, not a computation, so
the server's own cost is not in its times. It reads no body and no id: requests are numbered as they arrive, and an
answer holds the number.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import httptools

from ragbench.calibration.queueing import service_times
from ragbench.processes.loop import loop_factory

SERVICES = ("null", "deterministic", "exponential", "batch")
MOST_DRAWN = 100_000  # service times drawn beforehand; later requests use them again from the first

Answer = Callable[[float, float, int], None]  # (queue_s, service_s, batch_size): the answer is due now


Service = Callable[[int, Answer], None]  # takes request `number`, and calls `answer` when it is done


def null(number: int, answer: Answer) -> None:
    """No work at all: answer at once."""
    del number
    answer(0.0, 0.0, 1)


@dataclass(slots=True)
class Queue:
    """First come, first served: when free, it runs what waits as one batch of up to `most`.

    `service_s(numbers)`: how long a batch of these requests takes. A batch starts when the one before was due to end,
    so a timer that is late makes no later answer late.
    """

    service_s: Callable[[Sequence[int]], float]
    most: int = 1
    _waiting: deque[tuple[int, float, Answer]] = field(default_factory=deque)
    _is_busy: bool = False

    def __call__(self, number: int, answer: Answer) -> None:
        """Answer when the batch of this request is done."""
        now = asyncio.get_running_loop().time()
        self._waiting.append((number, now, answer))
        if not self._is_busy:
            self._begin(now)

    def _begin(self, free_s: float) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self.most, len(self._waiting)))]
        self._is_busy = bool(batch)
        if batch:
            start_s = max(free_s, batch[0][1])
            service_s = self.service_s([number for number, _, _ in batch])
            asyncio.get_running_loop().call_at(start_s + service_s, self._end, batch, start_s, service_s)

    def _end(self, batch: Sequence[tuple[int, float, Answer]], start_s: float, service_s: float) -> None:
        for _, arrived_s, answer in batch:
            answer(max(0.0, start_s - arrived_s), service_s, len(batch))
        self._begin(start_s + service_s)


class Connection(asyncio.Protocol):
    """One connection of one client, which asks one thing at a time."""

    def __init__(self, service: Service, numbers: Iterator[int], info: bytes) -> None:
        self._service = service
        self._numbers = numbers
        self._info = info
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._write(400, b'{"detail": "not HTTP"}')
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        """Of httptools."""
        self._path = url

    def on_message_complete(self) -> None:
        """Of httptools. A warm-up request takes no service, so that the load finds an empty queue."""
        if self._path == b"/rag":
            number = next(self._numbers)
            service, name = (null, "warm-up") if number < 0 else (self._service, f"request {number}")
            service(number, partial(self._answer, name))
        elif self._path in (b"/health", b"/ready"):
            self._write(200, b'{"ready": true}')
        elif self._path == b"/info":
            self._write(200, self._info)
        else:
            self._write(404, b'{"detail": "there is no such path"}')

    def _answer(self, result: str, queue_s: float, service_s: float, batch_size: int) -> None:
        timing = f"queue;dur={queue_s * 1e3:.3f}, generate;dur={service_s * 1e3:.3f}"
        body = f'{{"query": "", "result": "{result}"}}'.encode()
        self._write(200, body, f"Server-Timing: {timing}\r\nX-Batch-Size: {batch_size}\r\n")

    def _write(self, status: int, body: bytes, headers: str = "") -> None:
        if not self._transport.is_closing():
            head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self._transport.write(f"{head}{headers}\r\n".encode() + body)


def service_of(options: argparse.Namespace) -> Service:
    """The service that `options` name."""
    kind, mean_s = options.service, options.mean_s
    if options.capacity_rps is not None:
        kind, mean_s = "deterministic", 1 / options.capacity_rps
    if kind == "batch":
        return Queue(lambda numbers: float(options.a_s + options.b_s * len(numbers)), options.max_batch_size)
    if kind == "null":
        return null
    drawn_s = service_times(kind, mean_s, n=MOST_DRAWN, seed=options.seed).tolist()
    stalls_s = {options.stall_at_request: options.stall_s}
    return Queue(lambda numbers: drawn_s[numbers[0] % MOST_DRAWN] + stalls_s.get(numbers[0], 0.0))


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = service_of(options)
    info = json.dumps({"design": "calibration", "settings": vars(options)}).encode()
    numbers = itertools.count(-options.warmup_requests)
    server = await loop.create_server(
        lambda: Connection(service, numbers, info), "127.0.0.1", options.port, backlog=1024
    )
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"ready": True, "port": port, "pid": os.getpid()}), flush=True)
    await stop.wait()
    server.close()


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(prog="python -m ragbench.calibration.server", description=__doc__.splitlines()[0])
    flags.add_argument("--service", choices=SERVICES, default="null", help="how long a request takes")
    flags.add_argument("--mean-s", type=_positive, default=0.01, help="mean service time")
    flags.add_argument("--capacity-rps", type=_positive, help="deterministic service at this many requests a second")
    flags.add_argument("--a-s", type=_positive, default=0.02, help="batch: seconds per batch")
    flags.add_argument("--b-s", type=_positive, default=0.001, help="batch: seconds per request in it")
    flags.add_argument("--max-batch-size", type=_whole(1), default=32, help="batch: the most in one")
    flags.add_argument("--seed", type=int, default=1, help="of the service times")
    flags.add_argument(
        "--warmup-requests", type=_whole(0), default=0, help="so many come first, are answered at once and not numbered"
    )
    flags.add_argument(
        "--stall-at-request", type=_whole(0), help="the number, from 0, of a request that takes --stall-s longer"
    )
    flags.add_argument("--stall-s", type=_positive, default=1.0)
    flags.add_argument("--port", type=int, default=8000, help="0 is any free one")
    return flags


def _whole(low: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {low}, got {text}")
        return int(text)

    return number


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be > 0, got {text}")
    return value


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(parser().parse_args()))
