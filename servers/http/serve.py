"""The life of a server process: bind, load, warm up, say ready, serve, drain. Knows no design."""

import asyncio
import errno
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from servers import exits
from servers.addresses import is_loopback, place, reachable
from servers.http.app import Design, create_app
from servers.http.connection.acceptor import Acceptor, allow_descriptors, room_for
from servers.http.connection.switching import SwitchingProtocol
from servers.http.state import State
from servers.settings import Settings
from servers.tasks import Background, beside, unless

log = logging.getLogger(__name__)
_STDIN, _CHUNK = 0, 4096
_OBJECTS_UNTIL_GC = 10_000  # Python's 700 are those of a few requests, and each look costs more than it frees

try:
    import uvloop

    _LOOP: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
except ImportError:  # there is none for Windows
    _LOOP = None


class BindError(RuntimeError):
    """Listening on an address failed; the message says which and why. `status` is the exit status."""

    def __init__(self, message: str, *, port_taken: bool) -> None:
        super().__init__(message)
        self.status = exits.PORT_TAKEN if port_taken else 1


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would skip our clean-up, and with our acceptor and protocol.

    Each connection takes `descriptors` file descriptors.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        acceptor: Acceptor,
        background: Background,
        *,
        descriptors: int,
    ) -> None:
        super().__init__(config)
        self._acceptor = acceptor
        self._background = background
        self._descriptors = descriptors
        self._protocol = partial(
            SwitchingProtocol,
            client_timeout_s=settings.client_timeout_s,
            max_body_bytes=settings.max_body_bytes,
            acceptor=acceptor,
            app_state={},
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        make = partial(self._protocol, config=self.config, server_state=self.server_state)
        self._acceptor.open(make, self._background, most=room_for(each=self._descriptors))
        self.servers = cast(Any, [self._acceptor])  # uvicorn only closes it and waits for that
        self.started = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises BindError."""
    try:
        family, address = place(host, port)
        # The protocol is named because asyncio sets TCP_NODELAY only on sockets that say they are TCP. Without it an
        # answer can wait 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, ValueError) as error:  # ValueError: an impossible name
        raise _refused(host, port, error) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise _refused(host, port, error) from error
    return listener


def _refused(host: str, port: int, error: OSError | ValueError) -> BindError:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    why = getattr(error, "strerror", None) or error
    return BindError(f"cannot listen on {where}: {why}", port_taken=getattr(error, "errno", None) == errno.EADDRINUSE)


def run(name: str, design: Design, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises BindError, and whatever the design's start raises."""
    allow_descriptors()
    listener = bind(settings.host, settings.port)
    try:
        with asyncio.Runner(loop_factory=_LOOP) as runner:
            runner.run(_serve(name, design, settings, listener))
    finally:
        listener.close()


def warn_if_open(settings: Settings) -> None:
    """Log a warning where clients on other machines need no key, or where their Host header is not checked."""
    if settings.api_key is None and not is_loopback(settings.host):
        log.warning("%s can be reached by others and asks for no key: set RAG_API_KEY", settings.host)
    if settings.hosts is None and not is_loopback(settings.host):
        log.warning("Host is not checked on %s: --hosts names those that clients may use", settings.host)


async def _serve(name: str, design: Design, settings: Settings, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    state = State(replica=settings.replica or str(port))
    acceptor = Acceptor(listener, most_per_address=settings.max_connections_per_address)
    warn_if_open(settings)
    stop = _stop_requested(with_parent=settings.stop_with_parent)
    async with Background() as background:
        config = _config(create_app(name, settings, design, state), settings)
        server = _Server(config, settings, acceptor, background, descriptors=2 if state.passes_on else 1)
        with beside(server.serve(sockets=[listener])) as serving:
            serving.add_done_callback(lambda _: stop.set())
            try:
                if await unless(stop, _started(design, background)):
                    state.ready = True
                    host = reachable(listener.getsockname()[0])
                    print(json.dumps({"ready": True, "port": port, "pid": os.getpid(), "host": host}), flush=True)
                    await stop.wait()
                    log.info("draining for at most %g s", settings.drain_s)
            finally:
                state.draining = True
                server.should_exit = True
                try:
                    await asyncio.wait({serving})
                    if server.server_state.tasks:  # cancelled at the end of the drain time; each still sends its 503
                        await asyncio.wait(server.server_state.tasks, timeout=1.0)
                finally:
                    await design.stop()


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        http=SwitchingProtocol,
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )


async def _started(design: Design, background: Background) -> bool:
    await design.start(background)
    # A full collection over what torch and transformers loaded stops every thread for a quarter of a second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_UNTIL_GC, *gc.get_threshold()[1:])
    return True


def _stop_requested(*, with_parent: bool) -> asyncio.Event:
    """An event that SIGTERM and Ctrl-C set; `with_parent`, the end of stdin too, whose other end the parent holds."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    if with_parent and sys.stdin is None:  # stdin is closed: no parent holds its other end
        event.set()
    elif with_parent:

        def watch() -> None:
            # os.read, because a thread that holds the lock of sys.stdin makes Python abort at exit.
            while os.read(_STDIN, _CHUNK):
                pass
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    return event
