"""The pipeline as a backend."""

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
    """Runs the pipeline. If its generator is not continuous, the answers of a batch come together at its end.

    The `stage_s` of each request are then the times of its batch.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.is_continuous = pipeline.generator.is_continuous
        self._running: dict[int, _Running] = {}
        self._ended: list[tuple[_Running, Done[Generated]]] = []

    def loaded(self) -> Loaded:
        """Facts about the pipeline."""
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
        """Embed, retrieve, and submit the prompts to the generator."""
        found = self.pipeline.find(requests, steps)
        began_s = time.perf_counter()
        prompts = self.pipeline.prompts(found, steps)
        self.pipeline.generator.submit(jobs, prompts, [ask.max_new_tokens for ask in requests])
        self._running |= {job: _Running(item, began_s) for job, item in zip(jobs, found, strict=True)}

    def cancel(self, job: int) -> None:
        """Remove the job from the batch with the next step."""
        if self._running.pop(job, None) is not None:
            self.pipeline.generator.cancel(job)

    def step(self, steps: Steps = UNREPORTED) -> list[Event]:
        """One token for each running job."""
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
        """Forget all jobs, here and in the generator."""
        self._running.clear()
        self._ended.clear()
        self.pipeline.generator.reset()
