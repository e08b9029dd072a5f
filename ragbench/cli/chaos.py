"""`ragbench chaos`: inject faults into a fleet under load, and count how the requests ended."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ragbench.chaos.experiment import Terms
from ragbench.chaos.outcome import Tally
from ragbench.chaos.report import chaos_table, lines, write
from ragbench.chaos.run import NoCapacity, measure_capacity, run
from ragbench.chaos.scenarios import PEERS, SCENARIOS, Scenario, names_of
from ragbench.cli.common import interruptible, say, terminal
from ragbench.files.toml_tables import StudyError
from ragbench.load.descriptors import allow_files
from ragbench.machine.git import code_origin
from ragbench.machine.hardware import this_machine
from ragbench.processes.child import ChildError
from ragbench.processes.interrupts import run_until_done
from ragbench.study.questions import load_questions
from ragbench.study.study import command_mistakes
from ragbench.terminal import Status

STUB = "--profile stub --stub-batch-s 0.045 --stub-item-s 0.018 --max-batch-size 8"  # slow: two cores suffice
LOGS = "--access-log --log-format json"  # what `duplicated` is counted from
FLEET = f"python -m servers scaled --min-replicas 3 --max-replicas 3 --base-port 18000 {STUB} {LOGS}"
REPLICA = f"python -m servers batched {STUB} {LOGS}"


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
    peers: Annotated[bool, typer.Option("--peers", help="Kill one of two workers of each framework instead.")] = False,
    front: Annotated[
        str | None, typer.Option(help="URL of a proxy that runs already and sends the fleet's requests, as HAProxy.")
    ] = None,
    front_reload: Annotated[
        str, typer.Option(help="The command that reloads it, for the scenario `front`.", show_default=False)
    ] = "",
    out: Annotated[Path, typer.Option(help="The folder for the tables and the logs.")] = Path("results/chaos"),
) -> None:
    """Break a fleet under load, a scenario at a time, and print what was lost. Without SCENARIO: all of them."""
    if duration_s <= 0 or (capacity_rps is not None and capacity_rps <= 0):
        raise StudyError([f"--duration-s and --capacity-rps must be > 0, got {duration_s:g} and {capacity_rps}"])
    if peers and scenarios:
        raise StudyError(["--peers injects one fault of its own: give it no SCENARIO"])
    names = names_of(scenarios or [])
    questions = load_questions("facts").questions
    terms = Terms(
        *(_argv(command), _argv(replica), questions, duration_s, late_s, timeout_s),
        seed=seed,
        front=front,
        reload=shlex.split(front_reload),
    )
    if peers:
        fleets = {name: replace(terms, fleet=_argv(f"{peer} {STUB}")) for name, (peer, _) in PEERS.items()}
        parts = {name: (scenario, fleets[name]) for name, (_, scenario) in PEERS.items()}
    else:
        names = _possible(names, terms, is_default=not scenarios)
        fleets = {"capacity": terms}
        parts = {name: (SCENARIOS[name], terms) for name in names}
    allow_files([])
    table = "peers" if peers else "chaos"
    try:
        with interruptible(lambda: f"what is whole is in {out / table}.md"):
            tallies = run_until_done(_run_all(table, parts, fleets, capacity_rps=capacity_rps, out=out))
    except (NoCapacity, ChildError) as error:
        say(str(error))
        raise typer.Exit(1) from None
    _print(table, tallies, out)
    if len(tallies) < len(parts) or not (peers or all(tally.passed for tally in tallies)):
        raise typer.Exit(1)


def _possible(names: Sequence[str], terms: Terms, *, is_default: bool) -> list[str]:
    """The scenarios that such a fleet can have. Raises StudyError where another was asked for."""
    stub_only = [name for name in names if SCENARIOS[name].is_stub_only and not terms.echoes]
    no_front = [name for name in names if SCENARIOS[name].needs_reload and not (terms.front and terms.reload)]
    if stub_only and not is_default:
        raise StudyError([f"{', '.join(stub_only)}: the fault is one to order, from a fleet with --profile stub alone"])
    if no_front and not is_default:
        raise StudyError([f"{', '.join(no_front)}: needs a proxy in front, by --front and --front-reload"])
    return [name for name in names if name not in (*stub_only, *no_front)]


async def _run_all(
    table: str,
    parts: Mapping[str, tuple[Scenario, Terms]],
    fleets: Mapping[str, Terms],
    *,
    capacity_rps: float | None,
    out: Path,
) -> list[Tally]:
    """The rows of the parts whose fleet came up, written after each. The load is made for the weakest of `fleets`."""
    tallies: list[Tally] = []
    unknown = fleets if capacity_rps is None else {}
    with Status(total=len(unknown) + len(parts)) as status:
        capacities_rps = [await _capacity(name, terms, out, status) for name, terms in unknown.items()]
        capacity_rps = capacity_rps or min(capacities_rps)
        for name, (scenario, terms) in parts.items():
            status.begin(f"{name}: {scenario.what}")
            try:
                tally = await run(
                    name,
                    scenario,
                    terms,
                    capacity_rps=capacity_rps,
                    folder=out / name,
                    on_row=lambda row: status.count(is_ok=row.status == "ok"),
                )
            except ChildError as error:
                status.note(f"{name}: {error}")
                continue
            tallies.append(tally)
            write(out, table, tallies, circumstances(terms, capacity_rps))
    return tallies


async def _capacity(name: str, terms: Terms, out: Path, status: Status) -> float:
    status.begin(f"{name}: measuring what it carries")
    found_rps = await measure_capacity(terms, out / name)
    status.done(f"{name}: {found_rps:.0f} requests/s")
    return found_rps


def _print(table: str, tallies: Sequence[Tally], out: Path) -> None:
    terminal.print(chaos_table(tallies, title=table))
    for tally in tallies:
        for line in lines(tally):
            terminal.print_line(f"{tally.scenario}: {line}")
    terminal.print_line(f"table: {out / table}.md")


def circumstances(terms: Terms, capacity_rps: float) -> str:
    """Two lines on what the rows were measured with."""
    code = code_origin()
    commit = f"{(code.commit or 'unknown')[:7]}{' with changes' if code.dirty else ''}"
    fleet = shlex.join("python" if word == sys.executable else word for word in terms.fleet)
    load = f"capacity {capacity_rps:.0f} requests/s; {terms.duration_s:g} s a scenario"
    return (
        f"{this_machine()}; commit {commit}; {load}.\nFleet: `{fleet}`. By `{shlex.join(['ragbench', *sys.argv[1:]])}`."
    )


def _argv(command: str) -> list[str]:
    if mistakes := command_mistakes(command):
        raise StudyError(f"--command and --replica: {mistake}" for mistake in mistakes)
    words = shlex.split(command)
    return [sys.executable, *words[1:]] if words[0] == "python" else words
