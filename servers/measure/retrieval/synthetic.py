"""Made-up vectors of known shape: uniform, clustered, or of a known intrinsic dimension. Embeds and searches nothing.

Rows are made in blocks, each from a stream of its own, so that a set larger than memory can be written to a file, and
the same (name, n, d, seed) always gives the same rows.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

__all__ = ["KINDS", "blocks", "queries"]

_NUMBERS = 1 << 22  # of a block
_PER_CLUSTER = 500  # vectors a cluster, in the mean
_WIDTH = 0.5  # standard deviation within a cluster, where the centres have 1
_NOISE = 0.01  # off the subspace, where the rows in it have 1


class _Draw(Protocol):
    """Rows of one distribution: (count, rng) -> (count, d) f32."""

    def __call__(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw."""


def _uniform(n: int, d: int, rng: np.random.Generator, _: str) -> _Draw:
    """Each number in [0, 1)."""
    return lambda count, rng: rng.random((count, d), dtype=np.float32)


def _clustered(n: int, d: int, rng: np.random.Generator, _: str) -> _Draw:
    """A mixture of normal distributions, one for each 500 vectors, as likely as each other."""
    centres = rng.standard_normal((max(1, n // _PER_CLUSTER), d), dtype=np.float32)

    def draw(count: int, rng: np.random.Generator) -> np.ndarray:
        rows = rng.standard_normal((count, d), dtype=np.float32)
        rows *= _WIDTH
        rows += centres[rng.integers(len(centres), size=count)]
        return rows

    return draw


def _intrinsic(n: int, d: int, rng: np.random.Generator, dimension: str) -> _Draw:
    """Normal in a random subspace of so many dimensions, with a hundredth of noise in all."""
    inner = int(dimension)
    if not 1 <= inner <= d:
        raise ValueError(f"intrinsic:{dimension} wants a dimension in 1..{d}")
    plane = np.linalg.qr(rng.standard_normal((d, inner)))[0].T.astype(np.float32)

    def draw(count: int, rng: np.random.Generator) -> np.ndarray:
        rows = rng.standard_normal((count, inner), dtype=np.float32) @ plane
        rows += _NOISE * rng.standard_normal((count, d), dtype=np.float32)
        return rows

    return draw


KINDS: dict[str, Callable[[int, int, np.random.Generator, str], _Draw]] = {
    "uniform": _uniform,
    "clustered": _clustered,
    "intrinsic": _intrinsic,
}


def blocks(name: str, n: int, d: int, *, seed: int) -> Iterator[np.ndarray]:
    """The n rows (b, d) f32 in blocks. `name` is one of KINDS, as in `intrinsic:16`. Raises ValueError."""
    draw, streams = _drawing(name, n, d, seed)
    rows = max(1, _NUMBERS // d)
    for start in range(0, n, rows):
        yield draw(min(rows, n - start), streams.spawn(1)[0])


def queries(name: str, n: int, d: int, *, count: int, seed: int) -> np.ndarray:
    """Queries (count, d) f32 of the distribution that the n rows come from, and none of them. Raises ValueError."""
    draw, _ = _drawing(name, n, d, seed)
    return draw(count, np.random.default_rng([seed, 1]))


def _drawing(name: str, n: int, d: int, seed: int) -> tuple[_Draw, np.random.Generator]:
    kind, _, parameter = name.partition(":")
    if kind not in KINDS or (kind == "intrinsic") != parameter.isdecimal() or (parameter and kind != "intrinsic"):
        raise ValueError(f"data must be uniform, clustered, intrinsic:DIMENSION or a file .npy, got {name!r}")
    shape, rows = np.random.default_rng([seed, 0]).spawn(2)
    return KINDS[kind](n, d, shape, parameter), rows
