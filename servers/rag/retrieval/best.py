"""The k best so far of each query, exact, as blocks are searched one after the other. Reads no block."""

from collections.abc import Callable

import numpy as np

from servers.rag.retrieval.metrics import scores

__all__ = ["Best", "Margin"]

Margin = Callable[[np.ndarray], np.ndarray]  # keys (q,) -> how far near them one may be from the exact one
Keys = Callable[[np.ndarray, np.ndarray], np.ndarray]  # queries (c,), rows (c,) -> keys (c,) f64


class Best:
    """Of `queries` queries the `k` nearest: by score as it is returned, in float32; ties by lowest row.

    `floor` (q,) f64 is the k-th key of each query, -inf while there are fewer: what is below it need not be offered.
    """

    def __init__(self, metric: str, queries: int, k: int) -> None:
        self._metric = metric
        self._k = k
        self._rows = np.empty((queries, 0), dtype=np.int64)
        self._keys = np.empty((queries, 0))
        self.floor = np.full(queries, -np.inf)

    def offer(self, queries: np.ndarray, rows: np.ndarray, keys: np.ndarray, *, margin: Margin, exact: Keys) -> None:
        """Take in candidates of a block whose rows come after all before.

        queries (c,) i64 and rows (c,) i64 name pairs, keys (c,) their keys to within `margin`; `exact` computes those
        of pairs to the last bit, and is asked for the pairs alone that may be among the k best.
        """
        if len(rows) == 0:
            return
        order = np.lexsort((-keys, queries))
        queries, rows, keys = queries[order], rows[order], keys[order]
        count = np.bincount(queries, minlength=len(self.floor))
        first = np.cumsum(count) - count
        last = np.full(len(self.floor), -np.inf)
        full = count >= self._k
        last[full] = keys[first[full] + self._k - 1]
        kept = keys >= (last - 2 * margin(last))[queries]
        queries, rows = queries[kept], rows[kept]
        self._merge(queries, rows, exact(queries, rows))

    def _merge(self, queries: np.ndarray, rows: np.ndarray, keys: np.ndarray) -> None:
        held, width = self._rows.shape
        queries = np.concatenate([np.repeat(np.arange(held), width), queries])
        rows = np.concatenate([self._rows.ravel(), rows])
        keys = np.concatenate([self._keys.ravel(), keys])
        # The score is what is compared, so that what looks equal to the caller is in order of row.
        shown = scores(self._metric, keys)
        order = np.lexsort((rows, shown if self._metric in {"l1", "l2"} else -shown, queries))
        count = np.bincount(queries, minlength=held)
        width = min(self._k, int(count.min()))
        assert width == self._k or (count == width).all(), "until there are k, every query is offered every row"
        places = order[(np.cumsum(count) - count)[:, None] + np.arange(width)]
        self._rows, self._keys = rows[places], keys[places]
        if width == self._k:
            self.floor = self._keys.min(axis=1, initial=np.inf)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (q, k) i64 and scores (q, k) f32, best first."""
        return self._rows, scores(self._metric, self._keys)
