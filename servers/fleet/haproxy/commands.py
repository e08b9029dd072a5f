"""Commands that change a server of HAProxy, and which answers mean that it did so. Sends none."""

from servers.fleet.haproxy.servers import Place, Refused, Server, first_line

_MOVED = "by 'stats socket command'"


def assign(backend: str, server: Server, place: Place, weight: int) -> list[str]:
    """Let the server stand for the replica at `place`, and send it requests.

    Its health is that of whoever had the slot before: without `health up`, HAProxy would wait for its own checks.
    """
    name, (host, port) = f"{backend}/{server.name}", place
    return [
        f"set server {name} addr {host} port {port}",
        f"set server {name} weight {weight}",
        f"set server {name} health up",
        f"set server {name} state ready",
    ]


def set_state(backend: str, server: Server, state: str) -> str:
    """`ready`, `drain` (no new requests) or `maint` (none, no checks, free)."""
    return f"set server {backend}/{server.name} state {state}"


def set_weight(backend: str, server: Server, weight: int) -> str:
    """A share of the load, from 1 to 256."""
    return f"set server {backend}/{server.name} weight {weight}"


def check(command: str, answer: str) -> None:
    """Raise Refused unless the answer says yes: a sentence to a new address, and an empty line to all else."""
    said = answer.strip()
    if (said.endswith(_MOVED) and not said.startswith("Invalid")) if " addr " in command else not said:
        return
    raise Refused(f"`{command}` was answered: {first_line(answer)}")
