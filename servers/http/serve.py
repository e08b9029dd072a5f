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
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from servers import exits
from servers.addresses import is_loopback, place, reachable
from servers.http.acceptor import Door, allow_descriptors, room_for
from servers.http.app import Design, State, create_app
from servers.http.client_limits import guarded
from servers.settings import Settings
from servers.tasks import Background, beside, unless

__all__ = ["BindError", "bind", "run", "warn_of_open_door"]

log = logging.getLogger(__name__)
_STDIN, _CHUNK = 0, 4096

try:
    import uvloop

    _LOOP: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
except ImportError:  # there is none for Windows
    _LOOP = None


class BindError(RuntimeError):
    """The address cannot be listened on; the message says which and why. `status` is for the process to exit with."""

    def __init__(self, message: str, *, port_taken: bool) -> None:
        super().__init__(message)
        self.status = exits.PORT_TAKEN if port_taken else 1


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us: it would raise them again at the end, and so skip our cleaning up.

    Accepting is left to our door; `each` connection takes that many descriptors.
    """

    def __init__(self, config: uvicorn.Config, door: Door, background: Background, *, each: int) -> None:
        super().__init__(config)
        self._door = door
        self._background = background
        self._each = each

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the door."""

        def protocol() -> asyncio.Protocol:
            make = cast(Callable[..., asyncio.Protocol], self.config.http_protocol_class)  # as uvicorn itself does
            return make(config=self.config, server_state=self.server_state, app_state={})

        self._door.open(protocol, self._background, most=room_for(each=self._each))
        self.servers = cast(Any, [self._door])  # all that is asked of a server is to close, and to have closed
        self.started = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises BindError."""
    try:
        family, address = place(host, port)
        # With the protocol named: asyncio sets TCP_NODELAY only on sockets that say they are TCP, and without it an
        # answer can wait 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, ValueError) as error:  # ValueError: a name that none can have
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


def warn_of_open_door(settings: Settings) -> None:
    """A line in the log where others than this machine's users may ask, and need no key."""
    if settings.api_key is None and not is_loopback(settings.host):
        log.warning("%s can be reached by others and asks for no key: set RAG_API_KEY", settings.host)
    if settings.hosts is None and not is_loopback(settings.host):
        log.warning("Host is not checked on %s: --hosts names those that clients may use", settings.host)


async def _serve(name: str, design: Design, settings: Settings, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    state = State(replica=settings.replica or str(port))
    door = Door(listener, most_per_address=settings.max_connections_per_address)
    warn_of_open_door(settings)
    stop = _stop_requested(with_parent=settings.stop_with_parent)
    async with Background() as background:
        config = _config(create_app(name, settings, design, state), settings, door)
        server = _Server(config, door, background, each=2 if state.passes_on else 1)
        with beside(server.serve(sockets=[listener])) as serving:
            serving.add_done_callback(lambda _: stop.set())
            try:
                if await unless(stop, _started(design, background)):
                    state.ready = True
                    told = {
                        "ready": True,
                        "port": port,
                        "pid": os.getpid(),
                        "host": reachable(listener.getsockname()[0]),
                    }
                    print(json.dumps(told), flush=True)
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


def _config(app: ASGIApp, settings: Settings, door: Door) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        http=guarded(client_timeout_s=settings.client_timeout_s, max_body_bytes=settings.max_body_bytes, door=door),
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )


async def _started(design: Design, background: Background) -> bool:
    await design.start(background)
    # A full collection over what torch and transformers loaded stops every thread for a quarter of a second.
    gc.collect()
    gc.freeze()
    return True


def _stop_requested(*, with_parent: bool) -> asyncio.Event:
    """An event which SIGTERM and Ctrl-C set, and, `with_parent`, the end of stdin: the parent holds its other end."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    if with_parent and sys.stdin is None:  # closed: nobody holds its other end
        event.set()
    elif with_parent:

        def watch() -> None:
            # Not by way of sys.stdin: a thread that holds its lock makes Python abort at its end.
            while os.read(_STDIN, _CHUNK):
                pass
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    return event
