"""A replica's life: every state is reached, every dead end is meant, and what is not in the table is refused."""

from itertools import product
from typing import get_args

import pytest

from policies.lifecycle import STATES, TRANSITIONS, Event, IllegalTransition, State, after


def test_a_life_from_start_to_end() -> None:
    state: State = "starting"
    seen = [state := after(state, event) for event in ("get_ready", "drain", "end")]
    assert seen == ["ready", "draining", "dead"]


@pytest.mark.parametrize(("state", "event"), list(product(STATES, get_args(Event))))
def test_what_is_not_in_the_table_is_refused(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert after(state, event, is_ours=False) in STATES
        return
    with pytest.raises(IllegalTransition, match=f"that is {state} cannot"):
        after(state, event, is_ours=False)


def test_refused_are_a_second_start_and_the_drain_of_one_that_is_dead() -> None:
    refused = set(product(STATES, get_args(Event))) - set(TRANSITIONS)
    assert refused == {
        ("starting", "return"),
        ("ready", "get_ready"),
        ("dead", "get_ready"),
        ("dead", "drain"),
    }


@pytest.mark.parametrize("state", STATES)
def test_one_of_ours_never_returns(state: State) -> None:
    with pytest.raises(IllegalTransition, match="a replica of ours"):
        after(state, "return")


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_an_end_and_none_leads_back_to_the_start(state: State) -> None:
    assert after(state, "end") == "dead"
    assert "starting" not in TRANSITIONS.values()
