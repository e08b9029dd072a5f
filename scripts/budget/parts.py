"""Which part of a front a stack belongs to. Measures nothing."""

from collections.abc import Mapping, Sequence

Stack = Sequence[Sequence[str]]
"""(module, function) of each frame, innermost first."""

EVENT_LOOP, OTHER = "event loop", "other"
PARTS: Mapping[str, Sequence[str]] = {
    EVENT_LOOP: ["asyncio.runners"],
    "HTTP parsing": [
        "servers.http.connection",
        "uvicorn.protocols.http.httptools_impl",
    ],
    "guards": [
        "servers.http.auth",
        "servers.http.guard",
        "servers.http.middleware:Front.task_for",
    ],
    "task": [
        "servers.http.connection.direct:DirectCycle._answer",
        "servers.http.connection.direct:DirectCycle._begin",
        "servers.http.deduplication",
        "servers.http.exchange",
        "servers.http.headers:time_limit_s",
        "servers.http.middleware",
        "servers.http.task",
        "secrets",
    ],
    "load report": [
        "policies.pace:Pace.answered_s",
        "servers.batched:Batched._predicted_s",
        "servers.batched:Batched.mount",
        "servers.http.headers",
        "servers.http.state",
        "servers.queueing.batcher:Batcher.predicted_s",
    ],
    "metrics": [
        "prometheus_client",
        "servers.http.task:count",
        "servers.telemetry.metrics",
    ],
    "answer": [
        "pydantic",
        "servers.batched",
        "servers.http.app",
        "servers.http.wire",
    ],
    "batcher": [
        "policies",
        "servers.backend.job",
        "servers.engine.service",
        "servers.queueing",
    ],
    "engine hop": [
        "asyncio.streams",
        "msgspec",
        "servers.backend",
        "servers.engine",
    ],
    "writing": [
        "servers.http.connection.direct:DirectCycle._send",
        "servers.http.connection.direct:_lines",
        "servers.http.connection.write_coalescing",
        "uvicorn.protocols.http.flow_control",
    ],
    "logs and traces": [
        "logging",
        "opentelemetry",
        "servers.telemetry",
    ],
    "asyncio": ["asyncio"],
    "garbage collection": ["gc"],
    "routing": [
        "policies.health",
        "policies.routing",
        "servers.fleet.balancer",
        "servers.fleet.local",
        "servers.fleet.replica",
        "servers.fleet.traffic",
    ],
    "replica client": [
        "aiohttp",
        "multidict",
        "servers.fleet.asking",
        "servers.http.connection.frames",
        "yarl",
    ],
    "reply": [
        "servers.fleet.asking.reply",
        "servers.fleet.routes",
    ],
    "upkeep": [
        "policies.scaling",
        "servers.fleet.autoscaler",
        "servers.fleet.child",
        "servers.fleet.heartbeat",
        "servers.fleet.metrics",
        "servers.fleet.processes",
        "servers.scaled",
    ],
}
"""Parts by what belongs to them: a package, a module, or functions of one after a colon. The longest name decides."""
OF_THEIR_CALLER = (
    "policies.pace:Pace.run_s",
    "servers.queueing.batcher:Batcher.outstanding",
    "servers.queueing.batcher:Batcher.waiting",
    "servers.queueing.line:LocalLine.__len__",
)
"""What serves more than one part."""


def part_of(stack: Stack, parts: Mapping[str, Sequence[str]] = PARTS) -> str:
    """The part of the innermost frame that has one.

    The loop runs all others, so that only a stack that ends in it is its own.
    """
    by_name: dict[str, str | None] = {name: part for part, names in parts.items() for name in names}
    by_name |= dict.fromkeys(OF_THEIR_CALLER)
    found = [_part_of_frame(module, function, by_name) for module, function in stack]
    if found and found[0] == EVENT_LOOP:
        return EVENT_LOOP
    return next((part for part in found if part not in (None, EVENT_LOOP)), None) or OTHER


def _part_of_frame(module: str, function: str, by_name: Mapping[str, str | None]) -> str | None:
    names = (*_outward(module + ":", function), *_outward("", module))
    return next((by_name[name] for name in names if name in by_name), None)


def _outward(before: str, name: str) -> list[str]:
    """A dotted name, and those that it lies in, the nearest first: functions in functions, modules in packages."""
    steps = name.replace(".<locals>", "").split(".")
    return [before + ".".join(steps[:end]) for end in range(len(steps), 0, -1)]
