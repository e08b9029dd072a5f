"""Commands as HAProxy 2.6.12 takes them, and its answers as they came."""

import pytest

from servers.fleet.haproxy.commands import assign, check, set_state, set_weight
from servers.fleet.haproxy.servers import Refused, Server

SLOT = Server("slot2", ("127.0.0.1", 1), "maint", 1)


def test_a_slot_gets_address_weight_and_health_before_it_gets_requests() -> None:
    assert assign("replicas", SLOT, ("::1", 8001), 200) == [
        "set server replicas/slot2 addr ::1 port 8001",
        "set server replicas/slot2 weight 200",
        "set server replicas/slot2 health up",
        "set server replicas/slot2 state ready",
    ]
    assert set_state("replicas", SLOT, "drain") == "set server replicas/slot2 state drain"
    assert set_weight("replicas", SLOT, 7) == "set server replicas/slot2 weight 7"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("set server b/s state ready", "\n"),
        ("set server b/s addr ::1 port 80", "IP changed from '127.0.0.1' to '::1', port changed from '9' to '80'"),
        ("set server b/s addr ::1 port 80", "no need to change the addr, port changed from '9' to '80'"),
    ],
)
def test_what_means_yes(command: str, answer: str) -> None:
    check(command, f"{answer} by 'stats socket command'\n\n" if " addr " in command else answer)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("set server b/s state ready", "No such server.\n\n"),
        ("set server b/s weight 300", "Absolute weight can only be between 0 and 256 inclusive.\n\n"),
        ("set server b/s addr localhost:18 port 7", "Invalid addr 'localhost:18' by 'stats socket command'\n\n"),
        ("set server b/s addr 127.0.0.1 port 7", "Permission denied\n\n"),
        ("set server b/s addr 127.0.0.1 port 7", "\n"),
    ],
)
def test_what_means_no_is_said_with_the_command(command: str, answer: str) -> None:
    with pytest.raises(Refused) as caught:
        check(command, answer)
    assert str(caught.value) == f"`{command}` was answered: {answer.strip() or 'nothing'}"
