"""Exact search by one matrix product in torch, on the CPU or a GPU, with the vectors kept on the device."""

import numpy as np
import torch

from servers.rag.retrieval import require_finite

__all__ = ["TorchIndex", "build"]


class TorchIndex:
    """Vectors (n, d) f32 on a device."""

    def __init__(self, vectors: np.ndarray, device: str) -> None:
        self._device = torch.device(device)
        self._vectors = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(self._device)

    @property
    def shape(self) -> tuple[int, int]:
        """See Index."""
        count, dimensions = self._vectors.shape
        return count, dimensions

    @torch.inference_mode()
    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k rows by inner product. queries (q, d) f32 -> ids (q, k) i64, scores (q, k) f32; ties by lowest id.

        `topk` gives the k-th best score but leaves the order of ties open; two stable sorts over what is not below it
        settle them: by score, then by query.
        """
        require_finite(queries)
        k = min(k, len(self._vectors))
        scores = torch.as_tensor(queries, dtype=torch.float32, device=self._device) @ self._vectors.T
        threshold = scores.topk(k, dim=1).values[:, -1:]
        rows, ids = (scores >= threshold).nonzero(as_tuple=True)
        by_score = torch.argsort(scores[rows, ids], descending=True, stable=True)
        order = by_score[torch.argsort(rows[by_score], stable=True)]
        first = torch.searchsorted(rows[order], torch.arange(len(scores), device=self._device))
        best = ids[order[first[:, None] + torch.arange(k, device=self._device)]]
        return best.cpu().numpy(), scores.gather(1, best).cpu().numpy()


def build(vectors: np.ndarray, device: str) -> TorchIndex:
    """The index on that device."""
    return TorchIndex(vectors, device)
