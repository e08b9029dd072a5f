"""Ejection of replicas: out after failures, back after one trial, with a slow start. Reads no clock.

in ---- a connection refused, or `failures` bad answers in a row ----> out
out --- `ejection_s` later, doubled with every time in a row ---------> trial: one request
trial - it is answered ------------------------------------------------> in, with a share that grows
trial - it fails ------------------------------------------------------> out
"""

from dataclasses import dataclass, field

_LEAST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class HealthRules:
    """When a replica is ejected and how it comes back. The names are those of Envoy."""

    failures: int = 2
    ejection_s: float = 0.5
    max_ejection_s: float = 10.0
    slow_start_s: float = 2.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"failures must be >= 1, got {self.failures}")
        if not 0 < self.ejection_s <= self.max_ejection_s:
            raise ValueError(f"0 < ejection_s <= max_ejection_s must hold, got {self.ejection_s}")
        if self.slow_start_s < 0:
            raise ValueError(f"slow_start_s must be >= 0, got {self.slow_start_s}")


@dataclass(slots=True)
class Health:
    """One replica's record."""

    rules: HealthRules = field(default_factory=HealthRules)
    since_s: float | None = None  # when it came into the rotation; None: long ago
    out_until_s: float | None = None
    times_out: int = 0
    _failed: int = 0

    def failed(self, now: float, *, is_unreachable: bool, may_go: bool = True) -> bool:
        """Note a failed try; `is_unreachable`: no connection. -> whether it is ejected now, if it `may_go`."""
        self._failed += 1
        if not may_go:
            return False
        is_trial = self.out_until_s is not None
        if not (is_unreachable or is_trial or self._failed >= self.rules.failures):
            return False
        if is_trial and now < (self.out_until_s or 0.0):
            return False  # the try began before the ejection
        self.times_out += 1
        pause_s = self.rules.ejection_s * 2.0 ** min(self.times_out - 1, 20)
        self.out_until_s = now + min(pause_s, self.rules.max_ejection_s)
        return True

    def answered(self, now: float) -> None:
        """Note a good answer."""
        self._failed = 0
        if self.out_until_s is not None and now >= self.out_until_s:
            self.out_until_s, self.times_out, self.since_s = None, 0, now

    def may_be_asked(self, now: float, outstanding: int) -> bool:
        """Whether it may get a request while it has `outstanding` ones."""
        return self.out_until_s is None or (now >= self.out_until_s and outstanding == 0)

    def share(self, now: float) -> float:
        """Share of its usual traffic: grows from 0.1 to 1 in `slow_start_s` after its return."""
        if self.since_s is None or self.rules.slow_start_s == 0:
            return 1.0
        return min(1.0, max(_LEAST_SHARE, (now - self.since_s) / self.rules.slow_start_s))
