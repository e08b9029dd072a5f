"""Service times of every design of a measured study, and in words whatever was left out. Simulates nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragbench.paths import StudyPaths
from ragbench.points import configuration_label
from ragbench.records import Row, read_manifests, read_rows
from ragbench.simulator.batches import Batch, batches_of
from ragbench.simulator.designs import DESIGNS
from ragbench.simulator.service_times import FitError, ServiceTimes

__all__ = ["Fits", "Fitted", "Manifest", "Measured", "choose", "fits"]

Manifest = dict[str, Any]

# Of these points the times are the design's own: a queue that grows or refuses takes nothing from a batch. Those of the
# other verdicts are another program's, the client's, or of requests that found no service.
_FITTED_TO = ("valid", "saturated", "shedding")


@dataclass(frozen=True, slots=True)
class Measured:
    """One open-loop point, its requests, and the batches they ran in."""

    manifest: Manifest
    rows: Sequence[Row]
    batches: Sequence[Batch]

    @property
    def name(self) -> str:
        """The point's."""
        return str(self.manifest["point"]["name"])

    @property
    def offered_rps(self) -> float:
        """Its rate."""
        return float(self.manifest["point"]["offered_rps"])

    @property
    def verdict(self) -> str:
        """As measured."""
        return str(self.manifest["summary"]["verdict"])

    @property
    def is_fitted_to(self) -> bool:
        """Whether its times are the design's own."""
        return self.verdict in _FITTED_TO


@dataclass(frozen=True, slots=True)
class Fitted:
    """One design with one choice of settings: its service times, and the points it was measured in.

    `alone`: batches that stand for its own, where given.
    """

    name: str
    times: ServiceTimes
    points: Sequence[Measured]
    alone: Sequence[Batch] = ()

    @property
    def design(self) -> str:
        """As the study calls it."""
        return str(self.points[0].manifest["point"]["design"])

    @property
    def info(self) -> Manifest:
        """What the server told of itself."""
        return dict(self.points[0].manifest["server_info"])

    def without(self, offered_rps: float) -> ServiceTimes:
        """Fitted to the points of all other rates. Raises FitError where these do not suffice."""
        return _times([point for point in self.points if point.offered_rps != offered_rps], self.alone)


@dataclass(frozen=True, slots=True)
class Fits:
    """What could be fitted, and a line for each thing that could not."""

    fitted: Sequence[Fitted]
    left_out: Sequence[str]


def fits(paths: StudyPaths, *, batches: Sequence[Batch] = ()) -> Fits:
    """Every design of a measured study, fitted to its open-loop points; with `batches`, as if these were its own.

    Raises FitError, naming every reason, where there is nothing to fit.
    """
    fitted, left_out = [], []
    for name, manifests in _configurations(read_manifests(paths.root)).items():
        points, reasons = _usable(paths, manifests)
        if points:
            try:
                fitted.append(Fitted(name, _times(points, batches), points, batches))
            except FitError as error:
                reasons.append(f"not simulated: {error}")
        left_out += [f"{name}: {reason}" for reason in reasons]
    if not fitted:
        told = "; ".join(left_out) or "no measured point"
        raise FitError(
            f"nothing to fit in {paths.root}: wanted open-loop points of {', '.join(DESIGNS)} with stage times; {told}"
        )
    return Fits(fitted, left_out)


def choose(found: Fits, design: str) -> Fitted:
    """The design's; of several choices of settings, that with the largest batches. Raises FitError."""
    choices = [one for one in found.fitted if one.design == design]
    if not choices:
        there = ", ".join(sorted({one.design for one in found.fitted}))
        told = "".join(f"; {line}" for line in found.left_out if line.startswith(design))
        raise FitError(f"no design {design!r} to fit to; there: {there}{told}")
    return max(choices, key=lambda one: one.info["settings"].get("max_batch_size", 1))


def _configurations(manifests: Sequence[Manifest]) -> dict[str, list[Manifest]]:
    """By name; the same configuration on two machines is two, which the machine tells apart."""
    machines = {manifest["summary"].get("hardware") for manifest in manifests}
    groups: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        machine = f" on {manifest['summary'].get('hardware')}" if len(machines) > 1 else ""
        groups.setdefault(configuration_label(manifest["point"]) + machine, []).append(manifest)
    return groups


def _usable(paths: StudyPaths, manifests: Sequence[Manifest]) -> tuple[list[Measured], list[str]]:
    """-> the points that can be simulated, and what to say of the others."""
    info = manifests[0].get("server_info") or {}
    if info.get("design") not in DESIGNS:
        told = f"of {info['design']!r}" if info.get("design") else "of a server that does not tell its design"
        return [], [f"not simulated: there is no model {told}; known: {', '.join(DESIGNS)}"]
    if "settings" not in info:
        return [], ["not simulated: its server did not tell its settings"]
    opened = [manifest for manifest in manifests if manifest["point"]["offered_rps"] is not None]
    reasons = []
    if len(opened) < len(manifests):
        reasons.append(f"{_points(len(manifests) - len(opened))} not simulated: in closed loop there is no schedule")
    points = [_measured(paths, manifest) for manifest in opened]
    reasons += [f"{point.name} not simulated: no request was scheduled" for point in points if not point.rows]
    unfit = Counter(point.verdict for point in points if point.rows and not point.is_fitted_to)
    reasons += [f"{_points(count)} not fitted to: {verdict}" for verdict, count in unfit.items()]
    return [point for point in points if point.rows], reasons


def _measured(paths: StudyPaths, manifest: Manifest) -> Measured:
    rows = read_rows(paths.point(manifest["point"]["name"]).requests)
    return Measured(manifest, rows, batches_of(rows))


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"


def _times(points: Sequence[Measured], alone: Sequence[Batch]) -> ServiceTimes:
    times = ServiceTimes([batch for point in points if point.is_fitted_to for batch in point.batches])
    return times.with_batches(alone) if alone else times
