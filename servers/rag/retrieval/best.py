"""Pairs of query and row that may be among the k best, as blocks are searched one after the other. Reads no block."""

from typing import NamedTuple

import numpy as np

__all__ = ["Best", "Candidates"]


class Candidates(NamedTuple):
    """Pairs: queries (c,) i64, rows (c,) i64, and their keys (c,) f32 as a scan computed them."""

    queries: np.ndarray
    rows: np.ndarray
    keys: np.ndarray


class Best:
    """`floor` (q,) f32: keys that are lower cannot be among the k best; -inf while a query has had fewer than k.

    `slack` (q,) f32 is twice the margin of a key: what is exactly better than the k-th found may have been computed
    too low by one margin, and the k-th too high by another.
    """

    def __init__(self, k: int, slack: np.ndarray) -> None:
        self._k = k
        self.slack = slack
        self.floor = np.full(len(slack), -np.inf, dtype=np.float32)
        self._kept = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        self._new: list[Candidates] = []

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Queries (c,) i64 and rows (c,) i64 of what may be among the k best."""
        self.settle()
        return self._kept.queries, self._kept.rows

    def offer(self, found: Candidates) -> None:
        """Take in pairs of a block; they raise the floor as soon as they are more than those kept."""
        self._new.append(found)
        if sum(len(one.rows) for one in self._new) > len(self._kept.rows):
            self.settle()

    def settle(self) -> None:
        """Raise the floor by what was offered, and drop what is below it."""
        joined = Candidates(*map(np.concatenate, zip(self._kept, *self._new, strict=True)))
        self._new.clear()
        order = np.lexsort((-joined.keys, joined.queries))
        of, rows, keys = (part[order] for part in joined)
        count = np.bincount(of, minlength=len(self.floor))
        full = count >= self._k
        kth = keys[(np.cumsum(count) - count + self._k - 1)[full]]
        self.floor[full] = np.maximum(self.floor[full], kth - self.slack[full])
        kept = keys >= self.floor[of]
        self._kept = Candidates(of[kept], rows[kept], keys[kept])
