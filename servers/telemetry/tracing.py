"""Tracing hooks of a server; the spans themselves are made in spans.py.

Without --otlp-endpoint OpenTelemetry is not imported and these functions do nothing. A balancer passes trace headers on
in any case (routes.py).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from servers.settings import SettingsError

if TYPE_CHECKING:
    from servers.telemetry.spans import Spans

_NOTHING = nullcontext()
_exporting: dict[str, "Spans"] = {}
"""Empty, or the configured Spans under the key `to`."""


def configure(server: str, *, endpoint: str | None) -> None:
    """Send spans to an OTLP/HTTP endpoint from now on, unless it is None. Raises SettingsError without the extra."""
    if endpoint is None:
        return
    try:
        from servers.telemetry.spans import Spans  # noqa: PLC0415  an extra
    except ImportError as error:
        raise SettingsError(f"otlp_endpoint: needs OpenTelemetry: pip install 'ragbench[tracing]' ({error})") from error
    _exporting["to"] = Spans(server, endpoint)


def close() -> None:
    """Flush for at most two seconds."""
    if (spans := _exporting.pop("to", None)) is not None:
        spans.close()


def request(method: str, path: str, headers: Mapping[bytes, bytes]) -> AbstractContextManager[object]:
    """The span of a request, current during the block. `headers` by name in lower case."""
    if (spans := _exporting.get("to")) is None:
        return _NOTHING
    return spans.request(
        method, path, {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    )


def answered(status: int, request_id: str) -> None:
    """Note the status of the answer to the current request."""
    if (spans := _exporting.get("to")) is not None:
        spans.answered(status=status, request_id=request_id)


def headers() -> dict[str, str]:
    """Headers by which another server continues the trace from the current span."""
    spans = _exporting.get("to")
    return {} if spans is None else spans.headers()


def try_span(*, replica: str, attempt: int) -> AbstractContextManager[object]:
    """The span of one try at one replica; `headers()` inside it are the ones to send."""
    spans = _exporting.get("to")
    return _NOTHING if spans is None else spans.attempt(replica=replica, attempt=attempt)


def stages(stage_s: Mapping[str, float]) -> None:
    """Make spans of stages, in s, that have just ended one after another."""
    if (spans := _exporting.get("to")) is not None:
        spans.stages(stage_s)
