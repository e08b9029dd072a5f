"""The time limits of a server, checked together."""

from dataclasses import dataclass

_HANG_S = 5.0
_TRY_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """In seconds. A hang must be noticed before a try is given up, and a try before its request.

    `hang_s`: an engine that has work and ends no step for that long hangs. `try_timeout_s`: a replica that shows no
    progress for that long loses its requests to another one. `request_timeout_s`: a request is answered 504.
    """

    hang_s: float
    try_timeout_s: float
    request_timeout_s: float

    def __post_init__(self) -> None:
        """Raise ValueError unless 0 < hang_s < try_timeout_s <= request_timeout_s."""
        if self.try_timeout_s == self.request_timeout_s and not 0 < self.hang_s < self.request_timeout_s:
            raise ValueError(
                f"0 < hang_s < request_timeout_s must hold, got {self.hang_s:g} and {self.request_timeout_s:g}"
            )
        if not 0 < self.hang_s < self.try_timeout_s <= self.request_timeout_s:
            raise ValueError(
                "0 < hang_s < try_timeout_s <= request_timeout_s must hold, got "
                f"{self.hang_s:g}, {self.try_timeout_s:g}, {self.request_timeout_s:g}"
            )


def with_defaults(*, hang_s: float | None, try_timeout_s: float | None, request_timeout_s: float) -> TimeLimits:
    """The limits with their defaults: a try 30 s, at most the request's time; a step 5 s, at most half a try's."""
    if try_timeout_s is None:
        try_timeout_s = min(_TRY_TIMEOUT_S, request_timeout_s)
    if hang_s is None:
        hang_s = min(_HANG_S, try_timeout_s / 2)
    return TimeLimits(hang_s, try_timeout_s, request_timeout_s)
