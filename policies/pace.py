"""Predicts the time of a run from its size, and so the wait of a new request. Reads no clock.

The model is a line through the past runs: a fixed time, and a time for each request. Older runs count less.
"""

from dataclasses import dataclass

_DECAY = 0.9  # of a run's weight, with each further run


@dataclass(slots=True)
class Pace:
    """An exponentially weighted least-squares line through (size, seconds)."""

    _n: float = 0.0
    _x: float = 0.0
    _y: float = 0.0
    _xx: float = 0.0
    _xy: float = 0.0

    def ran(self, size: int, length_s: float) -> None:
        """Note a run of `size` requests."""
        self._n, self._x, self._y = _DECAY * self._n + 1, _DECAY * self._x + size, _DECAY * self._y + length_s
        self._xx, self._xy = _DECAY * self._xx + size * size, _DECAY * self._xy + size * length_s

    def run_s(self, size: int) -> float | None:
        """Seconds that a run of `size` takes; None before the first.

        As long as all runs were of one size, other sizes are predicted to take as long.
        """
        if not self._n:
            return None
        mean_size, mean_s = self._x / self._n, self._y / self._n
        spread = self._xx / self._n - mean_size**2
        if spread < 0.05 * mean_size:
            return mean_s
        slope_s = max(0.0, (self._xy / self._n - mean_size * mean_s) / spread)
        return max(mean_s + slope_s * (size - mean_size), 0.1 * mean_s)

    def answered_s(self, ahead: int, *, max_batch_size: int, rest_s: float = 0.0) -> float | None:
        """Seconds until a new request behind `ahead` waiting ones is answered; None before the first run.

        `rest_s`: remaining time of the current run.
        """
        whole, others = divmod(ahead, max_batch_size)
        full_s, last_s = self.run_s(max_batch_size), self.run_s(others + 1)
        if full_s is None or last_s is None:
            return None
        return rest_s + whole * full_s + last_s
