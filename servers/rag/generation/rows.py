"""The rows of a padded batch during generation: removing ended rows, joining two batches.

Padding is on the left, so that every row's next token has the same column. Runs no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch


class Cache(Protocol):
    """`layers`: of each its `keys` and `values`, tensors (rows, heads, length, head_dim) once something was read."""

    layers: list[Any]


@dataclass(slots=True)
class Job:
    """One prompt, as its tokens, on its way to an answer of at most `limit` tokens."""

    number: int
    prompt: list[int]
    limit: int
    made: list[int] = field(default_factory=list)
    is_cancelled: bool = False


@dataclass(slots=True)
class Rows:
    """One row for each job: `ids` (rows, width) are read next, and attend to `mask` (rows, length).

    `positions` (rows, width) count from each row's own beginning. `cache`: keys and values of what was read before.
    """

    jobs: list[Job]
    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    cache: Cache

    def after(self, chosen: torch.Tensor, kept: Sequence[int]) -> "Rows | None":
        """The rows `kept`, each with its next token of `chosen` (rows,); None if none is kept."""
        if not kept:
            return None
        mask, positions, jobs = self.mask, self.positions[:, -1:] + 1, self.jobs
        if len(kept) < len(jobs):
            places = torch.tensor(kept, device=chosen.device)
            chosen, mask, positions = chosen[places], mask[places], positions[places]
            jobs = [jobs[row] for row in kept]
            for layer in self.cache.layers:
                layer.keys, layer.values = layer.keys[places], layer.values[places]
        mask = torch.cat([mask, mask.new_ones(len(kept), 1)], dim=1)
        return Rows(jobs, chosen[:, None], mask, positions, self.cache)

    def trimmed(self) -> "Rows":
        """Remove the columns to which no row attends any more, after the longest row has gone."""
        first = int(self.mask.any(dim=0).int().argmax())
        if first:
            self.mask = self.mask[:, first:]
            for layer in self.cache.layers:
                layer.keys, layer.values = layer.keys[:, :, first:], layer.values[:, :, first:]
        return self


def joined(first: Rows, second: Rows) -> Rows:
    """Two batches as one, with more padding on the left of the shorter one. Both read one token a row next."""
    width = max(first.mask.shape[1], second.mask.shape[1])
    for mine, other in zip(first.cache.layers, second.cache.layers, strict=True):
        mine.keys = _stacked(mine.keys, other.keys, width - 1, dim=2)
        mine.values = _stacked(mine.values, other.values, width - 1, dim=2)
    return Rows(
        [*first.jobs, *second.jobs],
        torch.cat([first.ids, second.ids]),
        _stacked(first.mask, second.mask, width, dim=1),
        torch.cat([first.positions, second.positions]),
        first.cache,
    )


def _stacked(first: torch.Tensor, second: torch.Tensor, width: int, *, dim: int) -> torch.Tensor:
    """One tensor under the other, with zeros before the one that is shorter than `width` along `dim`."""
    shape = list(first.shape)
    shape[0], shape[dim] = len(first) + len(second), width
    whole = first.new_zeros(shape)
    whole[: len(first)].narrow(dim, width - first.shape[dim], first.shape[dim]).copy_(first)
    whole[len(first) :].narrow(dim, width - second.shape[dim], second.shape[dim]).copy_(second)
    return whole
