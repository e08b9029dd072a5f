"""OpenTelemetry spans of a request, exported by OTLP over HTTP. Needs the extra `tracing`.

POST /rag            server: the request, a child of the client's span if it sent `traceparent`
|-- try              client: one try at one replica (scaled), whose own POST /rag is its child
`-- queue, embed, retrieve, generate
"""

import os
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PATH = "/v1/traces"
_TIMEOUT_S = 2.0


class Spans:
    """Makes spans in the current context, and exports them in batches on a thread."""

    def __init__(self, server: str, endpoint: str) -> None:
        about = {"service.name": f"ragbench-{server}", "service.instance.id": str(os.getpid())}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        url = endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH
        exporter = OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self._tracer = self._provider.get_tracer("ragbench")
        self._propagator = TraceContextTextMapPropagator()

    def request(self, method: str, route: str, headers: Mapping[str, str]) -> AbstractContextManager[Span]:
        """The span of a request, which continues the trace in these headers."""
        parent = self._propagator.extract(headers)
        asked = {"http.request.method": method, "http.route": route}
        return self._tracer.start_as_current_span(f"{method} {route}", parent, SpanKind.SERVER, asked)

    def answered(self, *, status: int, request_id: str) -> None:
        """Note the status and the request id in the current span."""
        span = get_current_span()
        span.set_attributes({"http.response.status_code": status, "rag.request_id": request_id})
        if status >= 500:
            span.set_status(StatusCode.ERROR)

    def attempt(self, *, replica: str, attempt: int) -> AbstractContextManager[Span]:
        """The span of one try, the first being 1."""
        about: dict[str, str | int] = {"rag.replica": replica, "rag.attempt": attempt}
        return self._tracer.start_as_current_span("try", kind=SpanKind.CLIENT, attributes=about)

    def stages(self, stage_s: Mapping[str, float]) -> None:
        """Add consecutive children of the current span, the last of which ends now."""
        start_ns = time.time_ns() - sum(map(_ns, stage_s.values()))
        for stage, seconds in stage_s.items():
            span = self._tracer.start_span(stage, start_time=start_ns)
            start_ns += _ns(seconds)
            span.end(start_ns)

    def headers(self) -> dict[str, str]:
        """Headers with the current span, for the next server."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier

    def close(self) -> None:
        """Flush for at most two seconds; the exporter itself would retry for longer."""
        flushing = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        flushing.start()
        flushing.join(_TIMEOUT_S)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
