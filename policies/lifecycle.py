"""The states of a replica and all transitions between them."""

from typing import Literal, get_args

State = Literal["starting", "ready", "draining", "dead"]
Event = Literal["get_ready", "drain", "end", "return"]
STATES: tuple[State, ...] = get_args(State)

TRANSITIONS: dict[tuple[State, Event], State] = {
    ("starting", "get_ready"): "ready",
    ("starting", "drain"): "draining",
    ("starting", "end"): "dead",
    ("ready", "drain"): "draining",
    ("ready", "end"): "dead",
    ("ready", "return"): "ready",  # it was registered twice
    ("draining", "get_ready"): "draining",  # it was drained while it started
    ("draining", "drain"): "draining",
    ("draining", "end"): "dead",
    ("draining", "return"): "ready",
    ("dead", "end"): "dead",  # it hung, and then its process ended
    ("dead", "return"): "ready",
}
"""`return` is for registered replicas: one of ours that is dead or drains never comes back."""


class IllegalTransition(ValueError):
    """The state has no transition for the event."""


def after(state: State, event: Event, *, is_ours: bool = True) -> State:
    """The state that follows. Raises IllegalTransition."""
    following = TRANSITIONS.get((state, event))
    if following is None or (is_ours and event == "return"):
        whose = "a replica of ours" if is_ours else "a registered replica"
        raise IllegalTransition(f"{whose} that is {state} cannot {event.replace('_', ' ')}")
    return following
