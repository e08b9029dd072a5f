"""Answers of HAProxy 2.6.12 as they came, and broken ones."""

import pytest

from servers.fleet.haproxy.servers import Refused, Server, Totals, read_servers, read_totals

STATE = (
    "1\n"
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"
    " srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state"
    " bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr"
    " srv_agent_addr srv_agent_port\n"
    "3 replicas 1 slot1 127.0.0.1 2 4 82 1 0 1 0 1 6 0 0 0 - 19700 - 0 0 - - 0\n"
    "3 replicas 2 slot2 ::1 2 12 256 1 0 1 0 1 6 0 0 0 - 19701 - 0 0 - - 0\n"
    "3 replicas 3 slot3 127.0.0.1 0 5 1 1 6 1 0 0 14 0 0 0 - 1 - 0 0 - - 0\n"
    "3 replicas 4 slot4 127.0.0.1 0 32 1 1 6 1 0 0 14 0 0 0 - 1 - 0 0 - - 0\n\n"
)
STAT = (
    "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,\n"
    "replicas,slot1,0,0,3,9,,120,0,0,,0,,0,0,2,1,UP,\n"
    "replicas,slot2,1,0,4,9,,80,0,0,,0,,0,0,0,0,DRAIN,\n"
    "replicas,slot3,0,0,0,0,,0,0,0,,0,,0,0,0,0,MAINT,\n"
    'replicas,slot4,0,0,0,0,,0,0,0,,0,,0,0,0,0,"MAINT, by ""hand""",\n'
    "replicas,BACKEND,5,0,7,9,1000,207,0,0,0,0,,0,0,2,1,UP,\n\n"
)


def test_states_weights_and_sessions_are_read() -> None:
    assert read_servers("replicas", STATE, STAT) == [
        Server("slot1", ("127.0.0.1", 19700), "ready", 82, 3),
        Server("slot2", ("::1", 19701), "drain", 256, 5),
        Server("slot3", ("127.0.0.1", 1), "maint", 1, 0),
        Server("slot4", ("127.0.0.1", 1), "maint", 1, 0),
    ]


def test_totals_are_those_of_the_backend() -> None:
    assert read_totals("replicas", STAT) == Totals(requests=207, retries=2, waiting=5)


@pytest.mark.parametrize(
    ("state", "stat", "message"),
    [
        ("Can't find backend.\n\n", STAT, "`show servers state other` was answered: Can't find backend."),
        ("\n", STAT, "was answered: nothing"),
        (STATE, "No such proxy.\n\n", "`show stat other 6 -1` was answered: No such proxy."),
        (STATE.replace(" 82 ", " x "), STAT, "without what is needed: invalid literal"),
        (STATE.replace("srv_admin_state", "renamed"), STAT, "without what is needed: 'srv_admin_state'"),
        (STATE[: STATE.index(" 2 12 ")], STAT, "without what is needed: 'srv_admin_state'"),
    ],
)
def test_any_other_answer_is_refused_with_the_command(state: str, stat: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        read_servers("other", state, stat)
    assert message in str(caught.value)


def test_counters_without_the_backend_are_refused() -> None:
    with pytest.raises(Refused, match="without a row of the backend"):
        read_totals("replicas", STAT.replace("BACKEND", "other"))
