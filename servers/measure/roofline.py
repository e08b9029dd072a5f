"""The least time of a batch on this machine, from the machine's rates and the batch's work.

The floor of a pass of a model is the longer of two times: its floating point operations at the rate of a large matrix
product, and its weights, read once, at the rate of a copy of as many bytes. Source: Williams, Waterman and Patterson,
Roofline, CACM 52(4), 2009. Attention's keys and values are left out, so the floor is a little too low.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from servers.backend import run
from servers.rag.pipeline import Ask, Pipeline
from servers.rag.retrieval import ON_GPU

_SIDE = 1024
_REPEATS = 7


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over some weights: floating point operations, and bytes of the weights."""

    flops: float
    weight_bytes: int


@dataclass(slots=True)
class Rates:
    """Measured rates of the device in its dtype: FLOP/s, and bytes/s by number of bytes."""

    device: str
    dtype: torch.dtype
    flops_per_s: float = field(init=False)
    _bytes_per_s: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        left, right = (torch.randn(_SIDE, _SIDE, device=self.device).to(self.dtype) for _ in range(2))
        self.flops_per_s = 2 * _SIDE**3 / self._fastest_s(lambda: left @ right)

    def bytes_per_s(self, size: int) -> float:
        """Rate of a copy of `size` bytes, reads and writes together; a small copy may stay in a cache."""
        if size not in self._bytes_per_s:
            source = torch.ones(max(size, 4096), dtype=torch.uint8, device=self.device)
            target = torch.empty_like(source)
            self._bytes_per_s[size] = 2 * len(source) / self._fastest_s(lambda: target.copy_(source))
        return self._bytes_per_s[size]

    def floor_s(self, passes: Sequence[Pass]) -> float:
        """The least time of passes that follow one another."""
        return sum(
            max(step.flops / self.flops_per_s, step.weight_bytes / self.bytes_per_s(step.weight_bytes))
            for step in passes
        )

    def _fastest_s(self, work: Callable[[], Any]) -> float:
        """The best of seven rounds of about 20 ms each."""
        work()
        began_s = self._now()
        work()
        rounds = max(1, round(0.02 / max(self._now() - began_s, 1e-6)))
        times = []
        for _ in range(_REPEATS):
            began_s = self._now()
            for _ in range(rounds):
                work()
            times.append((self._now() - began_s) / rounds)
        return min(times)

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


@contextmanager
def counted(model: Any) -> Iterator[list[Pass]]:
    """Count the passes of `model`, a torch module, in the block. Slows it down."""
    weight_bytes = _weights(model)
    passes: list[Pass] = []
    before: list[int] = []
    with FlopCounterMode(display=False) as counter:
        hooks = [
            model.register_forward_pre_hook(lambda *_: before.append(counter.get_total_flops())),
            model.register_forward_hook(
                lambda *_: passes.append(Pass(counter.get_total_flops() - before.pop(), weight_bytes))
            ),
        ]
        try:
            yield passes
        finally:
            for hook in hooks:
                hook.remove()


class Floors:
    """The least time of each stage of a pipeline on this machine."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        embedder, about = pipeline.embedder.module, pipeline.about
        weight = next(embedder.parameters())
        self._rates = Rates(weight.device.type, weight.dtype)
        self._search = self._rates if about["retriever"] in ON_GPU else Rates("cpu", torch.float32)

    def describe(self) -> str:
        """The machine's rates in one line."""
        size = _weights(self._generator) if self._generator is not None else 0
        about, rates = self._pipeline.about, self._rates
        return (
            f"{about['device']}, {about['dtype']}, threads {about['threads']}: {rates.flops_per_s / 1e9:.0f} GFLOP/s "
            f"in a product of {_SIDE} x {_SIDE}; {rates.bytes_per_s(size) / 1e9:.1f} GB/s in a copy of "
            f"{size / 1e6:.1f} MB, the generator's weights"
        )

    def of(self, asks: Sequence[Ask]) -> dict[str, float]:
        """Seconds by stage for these questions; 0 for a generator on another server."""
        with counted(self._pipeline.embedder.module) as embedding:
            self._pipeline.find(asks)
        generate_s = 0.0
        if self._generator is not None:
            with counted(self._generator) as generating:
                run(self._pipeline, asks)
            generate_s = self._rates.floor_s(generating)
        rows, width = self._pipeline.index.shape
        searching = Pass(2.0 * len(asks) * rows * width, 4 * rows * width)
        return {
            "embed": self._rates.floor_s(embedding),
            "retrieve": self._search.floor_s([searching]),
            "generate": generate_s,
        }

    @property
    def _generator(self) -> Any:
        return getattr(self._pipeline.generator, "module", None)


def _weights(model: Any) -> int:
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())
