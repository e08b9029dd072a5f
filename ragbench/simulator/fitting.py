"""Service times of every design of a measured study, and in words whatever was left out. Simulates nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ragbench.files.csv_table import RecordError
from ragbench.machine.mixing import code_of, machine_of
from ragbench.results.paths import StudyPaths
from ragbench.results.records import REQUESTS, Row, read_manifests
from ragbench.simulator.agreement import Agreement
from ragbench.simulator.batches import batches_of
from ragbench.simulator.run import DESIGNS
from ragbench.simulator.service_times import FitError, ServiceTimes
from ragbench.study.points import configuration_label

Manifest = dict[str, Any]

# A batch takes as long in a queue that grows or refuses as in any other. In points of other verdicts the times may be
# those of another program, of a late client, or of a broken service.
_FITTED_TO = ("valid", "saturated", "shedding")
_MOST_NAMES = 3  # in one line


@dataclass(frozen=True, slots=True)
class Measured:
    """One open-loop point, its requests, and the batches they ran in."""

    name: str
    offered_rps: float
    verdict: str
    manifest: Manifest
    rows: Sequence[Row]
    batches: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Fitted:
    """A configuration on one machine by one state of the code: its service times and its points.

    `alone`: batches of its pipeline without a server, which replace those of the points where given.
    """

    name: str
    times: ServiceTimes
    points: Sequence[Measured]
    alone: pd.DataFrame | None = None

    @property
    def design(self) -> str:
        """Its name in the study."""
        return str(self.points[0].manifest["point"]["design"])

    @property
    def info(self) -> Manifest:
        """What the server reported of itself."""
        return dict(self.points[0].manifest["server_info"])

    def without(self, offered_rps: float) -> ServiceTimes:
        """Fitted to the points of all other rates. Raises FitError where these do not suffice."""
        return _times([point for point in self.points if point.offered_rps != offered_rps], self.alone)


@dataclass(frozen=True, slots=True)
class Fits:
    """What could be fitted, a line for each thing that could not, and each load compared, once it is replayed."""

    fitted: Sequence[Fitted]
    left_out: Sequence[str]
    agreements: Sequence[Agreement] = ()


def fits(paths: StudyPaths, *, batches: pd.DataFrame | None = None) -> Fits:
    """Every configuration of a measured study, fitted to its open-loop points; to `batches` instead where given.

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
        why = "; ".join(left_out) or "no measured point"
        raise FitError(
            f"nothing to fit in {paths.root}: wanted open-loop points of {', '.join(DESIGNS)} with stage times; {why}"
        )
    return Fits(fitted, left_out)


def choose(found: Fits, design: str) -> Fitted:
    """The design's; of several choices of settings, that with the largest batches. Raises FitError."""
    choices = [one for one in found.fitted if one.design == design]
    if not choices:
        there = ", ".join(sorted({one.design for one in found.fitted}))
        left_out = "".join(f"; {line}" for line in found.left_out if line.startswith(design))
        raise FitError(f"no design {design!r} to fit to; there: {there}{left_out}")
    return max(choices, key=lambda one: one.info["settings"].get("max_batch_size", 1))


def _configurations(manifests: Sequence[Manifest]) -> dict[str, list[Manifest]]:
    """By name. Points of two machines, or of two states of the code, are never fitted together."""
    machines, codes = {machine_of(one) for one in manifests}, {code_of(one) for one in manifests}
    groups: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        machine = f" on {machine_of(manifest)}" if len(machines) > 1 else ""
        code = f", code {code_of(manifest) or 'unknown'}" if len(codes) > 1 else ""
        groups.setdefault(configuration_label(manifest["point"]) + machine + code, []).append(manifest)
    return groups


def _usable(paths: StudyPaths, manifests: Sequence[Manifest]) -> tuple[list[Measured], list[str]]:
    """-> the points that can be simulated, and a line for each reason why others cannot, or are not fitted to."""
    points: list[Measured] = []
    reasons: dict[str, list[str]] = {}
    for manifest in manifests:
        try:
            points.append(_measured(paths, manifest))
        except (FitError, RecordError) as error:
            reasons.setdefault(f"not simulated: {error}", []).append(manifest["point"]["name"])
        else:
            if points[-1].verdict not in _FITTED_TO:
                reasons.setdefault(f"not fitted to: {points[-1].verdict}", []).append(points[-1].name)
    counted = {reason: f"{len(names)} points" for reason, names in reasons.items() if len(names) > _MOST_NAMES}
    return points, [f"{counted.get(reason) or ', '.join(names)} {reason}" for reason, names in reasons.items()]


def _measured(paths: StudyPaths, manifest: Manifest) -> Measured:
    """The point with its rows. Raises FitError or RecordError where it cannot be simulated."""
    info, point = manifest.get("server_info") or {}, manifest["point"]
    design, path = info.get("design"), paths.point(point["name"]).requests
    whose = f"of {design!r}" if design else "of a server that does not tell its design"
    faults = {
        f"there is no model {whose}; known: {', '.join(DESIGNS)}": design not in list(DESIGNS),
        "its server did not tell its settings": not isinstance(info.get("settings"), dict),
        "in closed loop there is no schedule": point["offered_rps"] is None,
        "its manifest has no timeout_s": point.get("timeout_s") is None,
        "its requests were not kept": not path.is_file(),
    }
    for fault, is_so in faults.items():
        if is_so:
            raise FitError(fault)
    rows = REQUESTS.read(path)
    if not rows:
        raise FitError("no request was scheduled")
    verdict = manifest["summary"]["verdict"]
    return Measured(point["name"], float(point["offered_rps"]), verdict, manifest, rows, batches_of(rows))


def _times(points: Sequence[Measured], alone: pd.DataFrame | None) -> ServiceTimes:
    usable = [point.batches for point in points if point.verdict in _FITTED_TO]
    measured = pd.concat([batches_of(()), *usable])
    return ServiceTimes(measured if alone is None else alone, around=measured)
