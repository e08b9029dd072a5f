"""The pipeline as a backend: questions enter it, and leave it, between two steps of its generator."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from servers.backend import Chunk, Done, Event, Failed, Loaded
from servers.backend.steps import UNREPORTED, Steps
from servers.rag.generation import Generated, reported_step
from servers.rag.pipeline import Ask, Found, Pipeline


@dataclass(frozen=True, slots=True)
class _Running:
    found: Found
    began_s: float


class PipelineBackend:
    """Answers of a generator that is not continuous are given when all of its batch are there.

    Each request of a batch was in it for as long as all of it took, and its `stage_s` says so.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.is_continuous = pipeline.generator.is_continuous
        self._running: dict[int, _Running] = {}
        self._ended: list[tuple[_Running, Done[Generated]]] = []

    def loaded(self) -> Loaded:
        """What the server must know of the pipeline."""
        pipeline, window = self.pipeline, self.pipeline.generator.window
        return Loaded(
            corpus_size=len(pipeline.corpus),
            model_name=pipeline.model_name,
            is_continuous=self.is_continuous,
            info=pipeline.info(),
            document_chars=sum(map(len, pipeline.corpus.texts)) // len(pipeline.corpus),
            positions=None if window is None else window.positions,
        )

    def submit(self, jobs: Sequence[int], requests: Sequence[Ask], steps: Steps = UNREPORTED) -> None:
        """Embed and retrieve for these, and have the generator take their prompts in."""
        found = self.pipeline.find(requests, steps)
        began_s = time.perf_counter()
        prompts = self.pipeline.prompts(found, steps)
        self.pipeline.generator.submit(jobs, prompts, [one.max_new_tokens for one in requests])
        self._running |= {job: _Running(one, began_s) for job, one in zip(jobs, found, strict=True)}

    def cancel(self, job: int) -> None:
        """Take it out of the batch with the next step."""
        if self._running.pop(job, None) is not None:
            self.pipeline.generator.cancel(job)

    def step(self, steps: Steps = UNREPORTED) -> list[Event]:
        """One token for each that runs."""
        events: list[Event] = []
        for event in reported_step(self.pipeline.generator, steps) if self._running else ():
            if event.job not in self._running:
                continue
            if isinstance(event, Chunk):
                events.append(event)
                continue
            running = self._running.pop(event.job)
            if isinstance(event, Failed):
                events.append(event)
            else:
                self._ended.append((running, event))
        if self.is_continuous or not self._running:
            now_s = time.perf_counter()
            events += (
                Done(done.job, running.found.answered(done.result, now_s - running.began_s))
                for running, done in self._ended
            )
            self._ended.clear()
        return events

    def reset(self) -> None:
        """Forget all that run."""
        self._running.clear()
        self._ended.clear()
        self.pipeline.generator.reset()
