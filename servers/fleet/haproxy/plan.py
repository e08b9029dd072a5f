"""From the servers that HAProxy has and the replicas that the fleet wants there to commands. Sends none.

A plan is made from HAProxy's whole state each time, so that a HAProxy that has lost it is brought back in step by the
next one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from policies.weights import is_new
from servers.fleet.haproxy import commands
from servers.fleet.haproxy.servers import Place, Server


@dataclass(frozen=True, slots=True)
class Wanted:
    """A replica. Without `takes` it gets no new requests, and keeps those it has."""

    place: Place
    takes: bool = True
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Commands, a group for each server; `missing`: replicas for which no server is free."""

    groups: Sequence[Sequence[str]]
    missing: int = 0


def plan(backend: str, servers: Sequence[Server], wanted: Collection[Wanted]) -> Plan:
    """What brings the servers in step."""
    groups: list[Sequence[str]] = []
    open_places = {each.place: each for each in wanted}
    free = []
    for server in servers:
        if server.state == "maint":
            free += [server] if server.sessions == 0 else []
            continue
        replica = open_places.pop(server.place, None)  # a second server of one replica finds none
        groups.append(_kept(backend, server, replica))
    homeless = [replica for replica in open_places.values() if replica.takes]
    for server, replica in zip(free, homeless, strict=False):
        groups.append(commands.assign(backend, server, replica.place, replica.weight))
    return Plan([group for group in groups if group], max(0, len(homeless) - len(free)))


def busy(servers: Sequence[Server]) -> set[Place]:
    """Where requests are or may come: places of servers that take some, or drain and have some."""
    return {server.place for server in servers if server.state == "ready" or server.sessions > 0}


def _kept(backend: str, server: Server, replica: Wanted | None) -> list[str]:
    if replica is None:
        return [commands.set_state(backend, server, "maint")]
    if not replica.takes:
        return [] if server.state == "drain" else [commands.set_state(backend, server, "drain")]
    weight = [commands.set_weight(backend, server, replica.weight)] if is_new(replica.weight, server.weight) else []
    return weight if server.state == "ready" else [*weight, commands.set_state(backend, server, "ready")]
