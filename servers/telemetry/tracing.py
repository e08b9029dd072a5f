"""Where a request is traced: the points at which spans begin and end. Which spans they are is in spans.py.

Without --otlp-endpoint nothing of OpenTelemetry is imported, and every function here does nothing; a balancer passes
the trace headers of a request on in any case (routes.py).
"""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servers.settings import SettingsError
from servers.telemetry import logs

if TYPE_CHECKING:
    from servers.telemetry.spans import Spans

__all__ = ["Traced", "close", "configure", "headers", "stages", "try_span"]

_exporting: dict[str, "Spans"] = {}
"""Under `to` once configured: what makes the spans and sends them."""


def configure(server: str, *, endpoint: str | None) -> None:
    """Send spans to that OTLP/HTTP endpoint from now on; None: to nobody. Raises SettingsError without the extra."""
    if endpoint is None:
        return
    try:
        from servers.telemetry.spans import Spans  # noqa: PLC0415  an extra
    except ImportError as error:
        raise SettingsError(f"otlp_endpoint: needs OpenTelemetry: pip install 'ragbench[tracing]' ({error})") from error
    _exporting["to"] = Spans(server, endpoint)


def close() -> None:
    """Send what is not sent yet, for at most two seconds."""
    if (spans := _exporting.pop("to", None)) is not None:
        spans.close()


def headers() -> dict[str, str]:
    """What makes the server that is asked continue the trace from the span that we are in."""
    spans = _exporting.get("to")
    return {} if spans is None else spans.headers()


def try_span(*, replica: str, attempt: int) -> AbstractContextManager[object]:
    """The span of one try at one replica; `headers()` within it are those to send."""
    spans = _exporting.get("to")
    return nullcontext() if spans is None else spans.attempt(replica=replica, attempt=attempt)


def stages(stage_s: Mapping[str, float]) -> None:
    """Spans of the stages, in s, that one after the other have just ended."""
    if (spans := _exporting.get("to")) is not None:
        spans.stages(stage_s)


class Traced:
    """Wraps an ASGI application: a span round every exchange on `paths`. Only for a server that is configured."""

    def __init__(self, app: ASGIApp, *, paths: Collection[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange."""
        spans = _exporting.get("to")
        if spans is None or scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        with spans.request(scope["method"], scope["path"], Headers(scope=scope)) as span:

            async def described(message: Message) -> None:
                if message["type"] == "http.response.start":
                    spans.answered(span, status=message["status"], request_id=logs.request_id.get())
                await send(message)

            await self._app(scope, receive, described)
