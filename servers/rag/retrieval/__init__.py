"""Exact top-k search: one backend a file, one contract. Embeds nothing.

`build(vectors) -> Index`; `index.search(queries, k)` is the top rows by inner product, best first, ties by lowest id.
"""

import importlib
from collections.abc import Callable
from typing import Protocol, cast

import numpy as np

__all__ = ["BACKENDS", "Index", "build", "require_finite"]

BACKENDS = {"numpy": "servers.rag.retrieval.numpy_backend", "torch": "servers.rag.retrieval.torch_backend"}


class Index(Protocol):
    """Vectors that can be searched."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many they are, and of how many dimensions."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k rows by inner product. queries (q, d) f32 -> ids (q, k) i64, scores (q, k) f32; k is clipped to n.

        Raises ValueError on queries that are not finite.
        """


def require_finite(queries: np.ndarray) -> None:
    """Raise ValueError on NaN or infinity, with which no order of the scores means anything."""
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite, got NaN or infinity")


def build(backend: str, vectors: np.ndarray, device: str) -> Index:
    """An index over `vectors` (n, d) f32. `device` matters to the backends that can choose one."""
    make = importlib.import_module(BACKENDS[backend]).build
    return cast(Callable[[np.ndarray, str], Index], make)(vectors, device)
