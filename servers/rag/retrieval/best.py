"""The candidates of a search so far: pairs of query and row that may be among the k best. Reads no block."""

from typing import NamedTuple

import numpy as np


class Candidates(NamedTuple):
    """Pairs: queries (c,) i64, rows (c,) i64, and their keys (c,) f32 as a scan computed them."""

    queries: np.ndarray
    rows: np.ndarray
    keys: np.ndarray


class Best:
    """Candidates of all queries. `floor` (q,) f32: a lower key is not among the k best; -inf before k candidates.

    `slack` (q,) f32 is twice the margin of a key: the key of a better row may be too low by one margin, and the k-th
    key too high by another.
    """

    def __init__(self, k: int, slack: np.ndarray) -> None:
        self._k = k
        self.slack = slack
        self.floor = np.full(len(slack), -np.inf, dtype=np.float32)
        self._pairs = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        self._new: list[Candidates] = []

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Queries (c,) i64 and rows (c,) i64 of the candidates."""
        self.settle()
        return self._pairs.queries, self._pairs.rows

    def offer(self, candidates: Candidates) -> None:
        """Add the pairs of a block; the floor is raised once new pairs outnumber the old ones."""
        self._new.append(candidates)
        if sum(len(pairs.rows) for pairs in self._new) > len(self._pairs.rows):
            self.settle()

    def settle(self) -> None:
        """Raise the floor by the new pairs, and drop all pairs below it."""
        joined = Candidates(*map(np.concatenate, zip(self._pairs, *self._new, strict=True)))
        self._new.clear()
        order = np.lexsort((-joined.keys, joined.queries))
        of, rows, keys = (part[order] for part in joined)
        count = np.bincount(of, minlength=len(self.floor))
        full = count >= self._k
        kth = keys[(np.cumsum(count) - count + self._k - 1)[full]]
        self.floor[full] = np.maximum(self.floor[full], kth - self.slack[full])
        kept = keys >= self.floor[of]
        self._pairs = Candidates(of[kept], rows[kept], keys[kept])
