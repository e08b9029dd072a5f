"""Points measured one after another on one server at a time, which starts for the first of them, and written."""

import sys
from dataclasses import dataclass
from typing import Any, Self

from ragbench.machine.telemetry import throttling
from ragbench.measure.point import Measurement, Surroundings, measure
from ragbench.measure.point_folder import write_point
from ragbench.measure.progress import Progress
from ragbench.processes.child import GRACE_S, HURRIED_GRACE_S
from ragbench.processes.launch import Remote, Service, start
from ragbench.results.paths import StudyPaths
from ragbench.study.points import Configuration, Point
from ragbench.study.questions import QuestionSet


@dataclass(slots=True)
class Runner:
    """The points of one folder. `async with` stops the server at its end, in a hurry after an error."""

    paths: StudyPaths
    questions: QuestionSet
    around: Surroundings
    progress: Progress
    _service: Service | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self._stop(GRACE_S if kind is None else HURRIED_GRACE_S)

    async def run(self, point: Point) -> dict[str, Any]:
        """Measure the point and write it. -> its manifest. A server that failed is stopped. Raises ChildError."""
        service = self._service = self._service or await self._started(point.configuration, point.load.ready_timeout_s)
        self.progress.begin(point.name)
        measurement = await measure(point, service, self.questions, on_row=self.progress.row)
        manifest = self.write(measurement, log=service.new_log())
        if measurement.failure is not None:
            self.progress.note(service.log_end())
            await self._stop(GRACE_S)
        return manifest

    def write(self, measurement: Measurement, *, log: str) -> dict[str, Any]:
        """Write the point's folder. -> its manifest."""
        if (line := throttling(measurement.telemetry)) is not None:
            self.progress.note(line)
        return write_point(measurement, self.paths, log=log, questions=self.questions, around=self.around)

    async def _started(self, design: Configuration, ready_timeout_s: float) -> Service:
        """The service at the design's address, or a server that is started."""
        if design.url is not None:
            return Remote(design.url)
        self.progress.doing(f"starting {design.name}")
        return await start(design.argv(sys.executable), log=self.paths.live_log, ready_timeout_s=ready_timeout_s)

    async def _stop(self, grace_s: float) -> None:
        service, self._service = self._service, None
        if service is not None:
            for line in await service.stop(grace_s=grace_s):
                self.progress.note(line)
