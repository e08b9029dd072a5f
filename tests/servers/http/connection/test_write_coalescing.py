"""Answers leave in one piece, on a transport that remembers what it was given."""

import asyncio

from servers.http.connection.write_coalescing import CoalescingTransport


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.did: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.did.append(data)

    def close(self) -> None:
        self.did.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.did

    def get_extra_info(self, name: str, default: object = None) -> str:
        return f"its {name}"


async def test_what_is_written_in_one_turn_of_the_loop_is_sent_together() -> None:
    transport = Transport()
    coalescing = CoalescingTransport(transport, lambda: None)
    coalescing.write(b"headers ")
    coalescing.write(b"body")
    assert transport.did == []
    await asyncio.sleep(0)
    coalescing.write(b"more")
    await asyncio.sleep(0)
    assert transport.did == [b"headers body", b"more"]
    assert coalescing.get_extra_info("name") == "its name"


async def test_closing_sends_what_is_left_and_a_closed_one_nothing() -> None:
    transport = Transport()
    coalescing = CoalescingTransport(transport, lambda: transport.did.append("told"))
    coalescing.write(b"last")
    coalescing.close()
    coalescing.close()
    coalescing.write(b"too late")
    await asyncio.sleep(0)
    assert transport.did == [b"last", "closed", "told"]
