"""Exact search in torch, on the CPU or a GPU: one matrix product a block, in float32 or in half precision."""

from typing import Any, NamedTuple

import numpy as np
import torch

from servers.rag.retrieval.flat import Candidates
from servers.rag.retrieval.metrics import error_terms
from servers.rag.retrieval.place import Place, RetrieverMissing
from servers.rag.retrieval.spec import Spec

__all__ = ["TorchScanner", "require", "scanner"]

_KEYS_BYTES = {"cpu": 1 << 21, "cuda": 1 << 30}  # of a batch with a block: in a cache there, in memory here
_BLOCK_BYTES = {"cpu": 1 << 26, "cuda": 1 << 30}  # where vectors are put block by block
_SHARE = 0.8  # of the GPU's free memory that vectors may take


class _Block(NamedTuple):
    rows: torch.Tensor
    norms: torch.Tensor


class TorchScanner:
    """See Scanner. On a GPU vectors stay there if they fit; else a block is copied while the one before is searched."""

    def __init__(self, spec: Spec, device: str) -> None:
        self._metric = spec.metric
        self._dtype = getattr(torch, spec.dtype)
        self._device = torch.device(device)
        self.is_direct = spec.metric == "l1"
        self._copies = torch.cuda.Stream() if device == "cuda" else None

    def largest(self, dimensions: int, queries: int, *, is_held: bool) -> int:
        """See Scanner."""
        kind = self._device.type
        by_keys, by_rows = _KEYS_BYTES[kind] // (4 * queries), _BLOCK_BYTES[kind] // (4 * dimensions)
        is_copied = self._metric == "l1" and self._dtype != torch.float32
        return max(1, by_keys if is_held and not is_copied else min(by_keys, by_rows))

    def terms(self, dimensions: int) -> int:
        """See Scanner; `cdist` adds in eight lanes, each in order."""
        return dimensions // 8 + 12 if self._metric == "l1" else error_terms(dimensions)

    def hold(self, vectors: np.ndarray, norms: np.ndarray) -> _Block | None:
        """See Scanner."""
        count, dimensions = vectors.shape
        if self._device.type == "cpu":
            return self.put(vectors, norms)
        free, _ = torch.cuda.mem_get_info()
        if count * (dimensions * self._dtype.itemsize + 4) > _SHARE * free:
            return None
        rows = torch.empty(count, dimensions, dtype=self._dtype, device=self._device)
        step = max(1, _BLOCK_BYTES["cuda"] // (4 * dimensions))
        for start in range(0, count, step):
            rows[start : start + step] = torch.from_numpy(vectors[start : start + step]).to(self._device)
        return _Block(rows, torch.from_numpy(norms).to(self._device))

    def part(self, held: _Block, start: int, stop: int) -> _Block:
        """See Scanner."""
        return _Block(held.rows[start:stop], held.norms[start:stop])

    def put(self, rows: np.ndarray, norms: np.ndarray) -> _Block:
        """See Scanner; on a GPU by a stream of its own, waited for here, in the thread that is a block ahead."""
        if self._copies is None:
            return _Block(torch.from_numpy(rows).to(self._dtype), torch.from_numpy(norms))
        with torch.cuda.stream(self._copies):
            block = _Block(
                torch.from_numpy(rows).pin_memory().to(self._device, non_blocking=True).to(self._dtype),
                torch.from_numpy(norms).to(self._device),
            )
            self._copies.synchronize()
        return block

    @torch.inference_mode()
    def ready(self, queries: np.ndarray) -> torch.Tensor:
        """See Scanner."""
        wanted = torch.from_numpy(queries).to(self._device)
        return torch.nn.functional.normalize(wanted, dim=1) if self._metric == "cosine" else wanted

    @torch.inference_mode()
    def scan(self, queries: Any, block: _Block, floor: np.ndarray) -> Candidates:
        """See Scanner."""
        keys = self._keys(queries, block)
        least = torch.from_numpy(floor).to(self._device)
        places, of = (keys >= least).nonzero(as_tuple=True)
        return Candidates(*(part.cpu().numpy() for part in (of, places, keys[places, of])))

    def _keys(self, queries: torch.Tensor, block: _Block) -> torch.Tensor:
        """Keys (b, q) f32."""
        if self._metric == "l1":
            return -torch.cdist(block.rows.float(), queries, p=1)
        keys = (block.rows @ queries.to(self._dtype).T).float()
        if self._metric == "cosine":
            inverse = block.norms.rsqrt()
            return keys * torch.where(block.norms > 0, inverse, 0)[:, None]
        if self._metric == "l2":
            return keys.mul_(2).sub_(block.norms[:, None]).sub_(queries.square().sum(1))
        return keys


def require(place: Place) -> None:
    """See BACKENDS."""
    if place.device == "cuda" and not torch.cuda.is_available():
        raise RetrieverMissing("retriever torch: torch sees no CUDA device; use device cpu")


def scanner(spec: Spec, place: Place) -> TorchScanner:
    """See BACKENDS."""
    require(place)
    return TorchScanner(spec, place.device)
