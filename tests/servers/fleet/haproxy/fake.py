"""The runtime API of a HAProxy, with the answers of 2.6, and faults to order. Sends no request to any server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

_STATE = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port"
_ADMIN = {"ready": 4, "drain": 12, "maint": 5}


@dataclass
class Slot:
    """One server."""

    host: str = "127.0.0.1"
    port: int = 1
    state: str = "maint"
    weight: int = 1
    sessions: int = 0


@dataclass
class FakeHAProxy:
    """`answers`: given instead of what a command that begins so would get. `heard`: commands that change something,
    before each of which `on_change` is called.
    """

    slots: dict[str, Slot]
    requests: int = 0
    retries: int = 0
    waiting: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    is_silent: bool = False
    heard: list[str] = field(default_factory=list)
    on_change: Callable[[], object] = lambda: None

    def answer(self, command: str) -> str:
        """What HAProxy says to a command."""
        for begins, answer in self.answers.items():
            if command.startswith(begins):
                return answer
        match command.split():
            case ["show", "servers", "state", "replicas"]:
                rows = [
                    f"3 replicas 1 {name} {slot.host} 2 {_ADMIN[slot.state]} {slot.weight} {slot.port}"
                    for name, slot in self.slots.items()
                ]
                return "\n".join(["1", _STATE, *rows]) + "\n\n"
            case ["show", "stat", "replicas", "6", "-1"]:
                rows = [f"replicas,{name},0,{slot.sessions},0,0" for name, slot in self.slots.items()]
                total = f"replicas,BACKEND,{self.waiting},0,{self.requests},{self.retries}"
                return "\n".join(["# pxname,svname,qcur,scur,stot,wretr", *rows, total]) + "\n\n"
            case ["set", "server", where, *change] if where.removeprefix("replicas/") in self.slots:
                self.heard.append(command)
                self.on_change()
                return self._change(self.slots[where.removeprefix("replicas/")], change)
        return "Unknown command\n\n"

    def _change(self, slot: Slot, change: list[str]) -> str:
        match change:
            case ["addr", host, "port", port]:
                slot.host, slot.port = host, int(port)
                return "port changed by 'stats socket command'\n\n"
            case ["weight", weight]:
                slot.weight = int(weight)
            case ["state", state]:
                slot.state = state
            case ["health", "up"]:
                pass
            case _:
                return "set server: unknown\n\n"
        return "\n"

    def taking(self) -> dict[int, int]:
        """Port and weight of each server that takes requests."""
        return {slot.port: slot.weight for slot in self.slots.values() if slot.state == "ready"}

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Serve on a socket at `path` during the block."""

        served: list[tuple[asyncio.Task[None] | None, asyncio.StreamWriter]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append((asyncio.current_task(), writer))
            command = (await reader.readline()).decode().strip()
            if self.is_silent:
                await reader.read()
            else:
                writer.write(self.answer(command).encode())
            writer.close()

        server = await asyncio.start_unix_server(serve, path)
        async with server:
            yield
        for task, writer in served:
            writer.transport.abort()
            if task is not None:
                await task
        path.unlink()  # noqa: ASYNC240  of a socket, at the end of a test


def slots(count: int) -> dict[str, Slot]:
    """Free ones."""
    return {f"slot{number}": Slot() for number in range(1, count + 1)}
