"""How long a run takes by its size, and so how long a newcomer will wait. Reads no clock.

A straight line through the runs so far, older ones counting less: a run of n takes a fixed time and so much for each.
"""

from dataclasses import dataclass

_KEPT = 0.9  # of a run's weight, with each further run


@dataclass(slots=True)
class Pace:
    """An exponentially weighted least-squares line through (size, seconds)."""

    _n: float = 0.0
    _x: float = 0.0
    _y: float = 0.0
    _xx: float = 0.0
    _xy: float = 0.0

    def ran(self, size: int, length_s: float) -> None:
        """A run of `size` requests took so long."""
        self._n, self._x, self._y = _KEPT * self._n + 1, _KEPT * self._x + size, _KEPT * self._y + length_s
        self._xx, self._xy = _KEPT * self._xx + size * size, _KEPT * self._xy + size * length_s

    def run_s(self, size: int) -> float | None:
        """Seconds that a run of `size` takes; None before the first.

        Where all runs were of one size, others are taken to be as long: should they be longer, the next one will tell.
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
        """Seconds until a newcomer behind `ahead` waiting requests is answered; `rest_s` is left of the run under way.

        None before the first run.
        """
        whole, others = divmod(ahead, max_batch_size)
        full_s, last_s = self.run_s(max_batch_size), self.run_s(others + 1)
        if full_s is None or last_s is None:
            return None
        return rest_s + whole * full_s + last_s
