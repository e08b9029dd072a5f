"""`ragbench chaos`: break a fleet under load in every way there is, and count what became of the requests."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.status import Status

from ragbench.chaos.play import NoCapacity, measure_capacity, play
from ragbench.chaos.report import Circumstances, chaos_table, lines, write
from ragbench.chaos.scenarios import SCENARIOS, names_of
from ragbench.chaos.stage import Terms
from ragbench.chaos.tally import Tally
from ragbench.commands.common import say, terminal
from ragbench.config import StudyError
from ragbench.descriptors import allow_files
from ragbench.hardware import git_state, this_machine
from ragbench.interrupts import Interrupted, run_until_done
from ragbench.launch import LaunchError
from ragbench.workload import load_questions

STUB = "--profile stub"
FLEET = f"python -m servers scaled --min-replicas 3 --max-replicas 3 --base-port 18000 {STUB}"
REPLICA = f"python -m servers batched {STUB}"


def chaos(  # noqa: PLR0913, PLR0917  an option each
    scenarios: Annotated[list[str] | None, typer.Argument(metavar="[SCENARIO]...", help=", ".join(SCENARIOS))] = None,
    duration_s: Annotated[
        float, typer.Option(help="Of a scenario's load; some take two or three times as long.")
    ] = 30.0,
    capacity_rps: Annotated[float | None, typer.Option(help="What the fleet carries; measured unless given.")] = None,
    command: Annotated[str, typer.Option(help="The fleet, less its port.")] = FLEET,
    replica: Annotated[str, typer.Option(help="A replica to register, less its port.")] = REPLICA,
    late_s: Annotated[float, typer.Option(help="A later answer counts as late.")] = 1.0,
    timeout_s: Annotated[float, typer.Option(help="How long a client waits, from when its request is due.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the load, and of who is hit.")] = 1,
    out: Annotated[Path, typer.Option(help="The folder for chaos.csv, chaos.md and the logs.")] = Path("results/chaos"),
) -> None:
    """Break a fleet under load, a scenario at a time, and print what was lost. Without SCENARIO: all of them."""
    try:
        names = names_of(scenarios or [])
    except ValueError as error:
        raise StudyError([str(error)]) from error
    if duration_s <= 0 or (capacity_rps is not None and capacity_rps <= 0):
        raise StudyError([f"--duration-s and --capacity-rps must be > 0, got {duration_s:g} and {capacity_rps}"])
    questions = load_questions("facts").questions
    terms = Terms(_argv(command), _argv(replica), questions, duration_s, late_s, timeout_s, seed=seed)
    allow_files([])
    try:
        tallies = run_until_done(_play_all(names, terms, capacity_rps=capacity_rps, out=out))
    except Interrupted as interruption:
        say(f"{interruption}; the scenarios that are whole are in {out}")
        raise typer.Exit(interruption.exit_code) from None
    except NoCapacity as error:
        say(str(error))
        raise typer.Exit(1) from None
    terminal.print(chaos_table(tallies))
    for tally in tallies:
        for line in lines(tally):
            terminal.print(f"{tally.scenario}: {line}", soft_wrap=True)
    terminal.print(f"table: {out / 'chaos.md'}", soft_wrap=True)
    if len(tallies) < len(names) or not all(tally.is_whole for tally in tallies):
        raise typer.Exit(1)


async def _play_all(names: Sequence[str], terms: Terms, *, capacity_rps: float | None, out: Path) -> list[Tally]:
    """The rows of the scenarios whose fleet came up, written after each."""
    tallies: list[Tally] = []
    with _Shown() as shown:
        if capacity_rps is None:
            shown.say("measuring what the fleet carries")
            capacity_rps = await measure_capacity(terms, out / "capacity")
        for name in names:
            scenario = SCENARIOS[name]
            shown.begin(name, scenario.what)
            try:
                tally = await play(
                    name, scenario, terms, capacity_rps=capacity_rps, folder=out / name, on_row=shown.row
                )
            except LaunchError as error:
                say(f"{name}: {error}")
                continue
            tallies.append(tally)
            write(out, tallies, _circumstances(terms, capacity_rps))
    return tallies


def _circumstances(terms: Terms, capacity_rps: float) -> Circumstances:
    commit, is_changed = git_state(Path(__file__).parent)
    told = f"{(commit or 'unknown')[:7]}{' with changes' if is_changed else ''}"
    command = shlex.join(["ragbench", *sys.argv[1:]])
    return Circumstances(str(this_machine()), told, command, terms.fleet, capacity_rps, terms.duration_s)


def _argv(command: str) -> list[str]:
    words = shlex.split(command)
    if not words:
        raise StudyError(["--command and --replica must not be empty"])
    return [sys.executable, *words[1:]] if words[0] == "python" else words


class _Shown:
    """On a terminal the scenario that runs and its requests; elsewhere a line a scenario."""

    def __init__(self) -> None:
        self._status = Status("getting ready", console=terminal) if terminal.is_terminal else None
        self._what = ""
        self._rows = 0

    def __enter__(self) -> "_Shown":
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._status:
            self._status.stop()

    def begin(self, name: str, what: str) -> None:
        """A scenario begins."""
        self._what, self._rows = f"{name}: {what}", 0
        self.say(self._what)

    def row(self, row: object) -> None:
        """A request ended."""
        del row
        self._rows += 1
        if self._status and self._rows % 50 == 0:
            self._status.update(f"{self._what} | {self._rows} requests")

    def say(self, text: str) -> None:
        """What happens now."""
        if self._status:
            self._status.update(text)
        else:
            say(text)
