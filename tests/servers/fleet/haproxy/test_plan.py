"""Plans, and that carrying one out leaves nothing to plan."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from servers.fleet.haproxy.plan import Plan, Wanted, busy, plan
from servers.fleet.haproxy.servers import Server

A, B, C = (("127.0.0.1", port) for port in (8001, 8002, 8003))
NOWHERE = ("127.0.0.1", 1)


def slot(number: int, **what: object) -> Server:
    server = Server(f"slot{number}", NOWHERE, "maint", 1)
    return replace(server, **what)  # type: ignore[arg-type]


def test_a_ready_replica_takes_the_first_free_slot() -> None:
    servers = [slot(1, place=A, state="ready", weight=256), slot(2), slot(3)]
    made = plan("b", servers, [Wanted(A, weight=256), Wanted(B, weight=64)])
    assert made.groups == [
        [
            "set server b/slot2 addr 127.0.0.1 port 8002",
            "set server b/slot2 weight 64",
            "set server b/slot2 health up",
            "set server b/slot2 state ready",
        ]
    ]


def test_a_slot_whose_last_requests_run_is_not_free_yet() -> None:
    assert plan("b", [slot(1, sessions=1)], [Wanted(A)]) == Plan([], missing=1)


def test_one_that_takes_no_more_is_drained_once_and_gets_no_slot_anew() -> None:
    drains = Wanted(A, takes=False)
    assert plan("b", [slot(1, place=A, state="ready")], [drains]).groups == [["set server b/slot1 state drain"]]
    assert plan("b", [slot(1, place=A, state="drain"), slot(2)], [drains]) == Plan([])
    assert plan("b", [slot(1)], [drains]) == Plan([])


def test_one_that_is_gone_frees_its_slot() -> None:
    servers = [slot(1, place=A, state="ready"), slot(2, place=B, state="drain"), slot(3, place=C)]
    assert plan("b", servers, []).groups == [["set server b/slot1 state maint"], ["set server b/slot2 state maint"]]


def test_one_that_comes_back_from_an_ejection_gets_its_weight_first() -> None:
    made = plan("b", [slot(1, place=A, state="drain", weight=256)], [Wanted(A, weight=26)])
    assert made.groups == [["set server b/slot1 weight 26", "set server b/slot1 state ready"]]


def test_a_weight_that_is_nearly_the_same_is_left() -> None:
    ready = slot(1, place=A, state="ready", weight=100)
    assert plan("b", [ready], [Wanted(A, weight=105)]) == Plan([])
    assert plan("b", [ready], [Wanted(A, weight=120)]).groups == [["set server b/slot1 weight 120"]]


def test_a_replica_has_one_slot() -> None:
    servers = [slot(1, place=A, state="ready"), slot(2, place=A, state="ready")]
    assert plan("b", servers, [Wanted(A)]).groups == [["set server b/slot2 state maint"]]


def test_without_a_free_slot_replicas_are_missing() -> None:
    assert plan("b", [slot(1)], [Wanted(A), Wanted(B), Wanted(C)]).missing == 2


def test_requests_are_where_a_slot_takes_some_or_still_has_some() -> None:
    servers = [slot(1, place=A, state="ready"), slot(2, place=B, state="drain"), slot(3, place=C, sessions=2)]
    assert busy(servers) == {A, C}


places = st.sampled_from([A, B, C, NOWHERE])
weights = st.integers(1, 256)
states = st.sampled_from(["ready", "drain", "maint"])


def carried_out(servers: list[Server], made: Plan) -> list[Server]:
    """A model of HAProxy."""
    found = {server.name: server for server in servers}
    for command in (command for group in made.groups for command in group):
        _, _, where, what, value, *rest = command.split()
        name = where.partition("/")[2]
        change: dict[str, object] = {
            "addr": {"place": (value, int(rest[-1]) if rest else 0)},
            "weight": {"weight": int(value) if what == "weight" else 0},
            "health": {},
            "state": {"state": value},
        }[what]
        found[name] = replace(found[name], **change)  # type: ignore[arg-type]
    return list(found.values())


@given(
    st.lists(st.tuples(places, states, weights, st.integers(0, 2)), min_size=1, max_size=6),
    st.dictionaries(places, st.tuples(st.booleans(), weights), max_size=4),
)
def test_whatever_haproxy_had_it_has_each_wanted_replica_once_in_the_end(
    had: list[tuple[tuple[str, int], str, int, int]], wants: dict[tuple[str, int], tuple[bool, int]]
) -> None:
    servers = [
        slot(n, place=place, state=state, weight=weight, sessions=0 if state == "maint" else sessions)
        for n, (place, state, weight, sessions) in enumerate(had)
    ]
    wanted = [Wanted(place, takes, weight) for place, (takes, weight) in wants.items()]
    for _ in range(2):
        made = plan("b", servers, wanted)
        servers = [replace(server, sessions=0) for server in carried_out(servers, made)]
    after = plan("b", servers, wanted)
    assert list(after.groups) == []
    in_use = [server.place for server in servers if server.state == "ready"]
    taking = [each.place for each in wanted if each.takes]
    assert len(set(in_use)) == len(in_use)
    assert set(in_use) <= set(taking)
    assert len(in_use) == len(taking) - after.missing == min(len(taking), len(in_use))
    open_slots = sum(server.state != "maint" for server in servers)
    assert after.missing == 0 or open_slots == len(servers)
