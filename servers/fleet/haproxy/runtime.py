"""One command to HAProxy's runtime API and its answer, within a time limit. Knows no command."""

import asyncio
import os

_MOST_BYTES = 1 << 20  # a server takes some 700 bytes of `show stat`


class Away(OSError):
    """HAProxy cannot be reached or gives no answer; the message says where and why."""


class RuntimeApi:
    """The runtime API at `address`: the path of a Unix socket, or `host:port`. Each command has its own connection.

    One connection for all would need HAProxy's `prompt` mode to tell answers apart.
    """

    def __init__(self, address: str, *, timeout_s: float = 2.0) -> None:
        self.address = address
        self._timeout_s = timeout_s

    async def ask(self, command: str) -> str:
        """The whole answer. Raises Away."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._ask(command)
        except TimeoutError:
            raise Away(f"HAProxy at {self.address} gave no answer within {self._timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            if isinstance(error, Away):
                raise
            number = getattr(error, "errno", None)
            why = os.strerror(number) if number else error
            raise Away(f"HAProxy cannot be reached at {self.address}: {why}") from error

    async def _ask(self, command: str) -> str:
        if "/" in self.address:
            reader, writer = await asyncio.open_unix_connection(self.address)
        else:
            host, _, port = self.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            writer.write(f"{command}\n".encode())
            answer = bytearray()
            while part := await reader.read(_MOST_BYTES):
                answer += part
                if len(answer) > _MOST_BYTES:
                    raise Away(f"HAProxy at {self.address} answered more than {_MOST_BYTES} bytes")
        finally:
            writer.close()
        if not answer:  # the shortest answer is an empty line
            raise Away(f"HAProxy at {self.address} closed the connection without an answer")
        return answer.decode("utf-8", "replace")
