"""The command line. Each command is a file in cli/; exit codes are decided there and here.

0: done. 1: measured, but a service gave no usable answers, or a load was not sent as asked.
2: the request makes no sense.
130 and 143: interrupted by Ctrl-C and SIGTERM.
"""

import sys
from collections.abc import Callable

import typer

from ragbench.cli.calibrate import calibrate
from ragbench.cli.capacity import capacity
from ragbench.cli.chaos import chaos
from ragbench.cli.common import say
from ragbench.cli.compare import compare
from ragbench.cli.doctor import doctor
from ragbench.cli.limit import limit
from ragbench.cli.load import load
from ragbench.cli.report import report
from ragbench.cli.retrieval import retrieval
from ragbench.cli.run import run
from ragbench.cli.simulate import simulate
from ragbench.files.csv_table import RecordError
from ragbench.files.toml_tables import StudyError
from ragbench.files.unwritten import line_of
from ragbench.processes.interrupts import Interrupted, interruptible
from ragbench.study.questions import QuestionsError
from ragbench.terminal import tolerate

COMMANDS: tuple[Callable[..., None], ...] = (
    run,
    load,
    report,
    doctor,
    calibrate,
    compare,
    capacity,
    limit,
    retrieval,
    simulate,
    chaos,
)

MOVED = {
    "plan": "run STUDY --dry-run",
    "summarise": "report FOLDER --slo KEY=VALUE, or --recompute",
    "answers": "report FOLDER --answers",
    "arrivals": "calibrate --arrivals",
}

app = typer.Typer(
    help="How a RAG service behaves under load.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run the command line; mistakes of the user are lines, not tracebacks."""
    tolerate(sys.stdout)
    tolerate(sys.stderr)
    if moved := MOVED.get("".join(sys.argv[1:2])):
        say(f"`ragbench {sys.argv[1]}` is now `ragbench {moved}`")
        sys.exit(2)
    try:
        with interruptible():
            app()
    except StudyError as error:
        for mistake in error.mistakes:
            say(mistake)
    except (QuestionsError, RecordError) as error:
        say(str(error))
    except OSError as error:
        line = line_of(error)
        if line is None:
            raise
        say(line)
    except Interrupted as interruption:
        say(str(interruption))
        sys.exit(interruption.exit_code)
    sys.exit(2)


if __name__ == "__main__":
    main()
