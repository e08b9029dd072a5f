"""The command line. Each command is a file in commands/; exit codes are decided there and here.

0: done. 1: measured, but a service gave no usable answers, or a load was not sent as asked.
2: the request makes no sense.
130 and 143: interrupted by Ctrl-C and SIGTERM.
"""

import sys
from collections.abc import Callable

import typer

from ragbench.commands.answers import answers
from ragbench.commands.arrivals import arrivals
from ragbench.commands.calibrate import calibrate
from ragbench.commands.capacity import capacity
from ragbench.commands.chaos import chaos
from ragbench.commands.common import say
from ragbench.commands.compare import compare
from ragbench.commands.doctor import doctor
from ragbench.commands.limit import limit
from ragbench.commands.load import load
from ragbench.commands.report import report, summarise
from ragbench.commands.retrieval import retrieval
from ragbench.commands.run import plan, run
from ragbench.commands.simulate import simulate
from ragbench.config import StudyError
from ragbench.csv_table import RecordError
from ragbench.interrupts import Interrupted, interruptible
from ragbench.terminal import tolerate
from ragbench.unwritten import line_of
from ragbench.workload import QuestionsError

COMMANDS: tuple[Callable[..., None], ...] = (
    run,
    plan,
    load,
    summarise,
    report,
    arrivals,
    doctor,
    calibrate,
    compare,
    answers,
    capacity,
    limit,
    retrieval,
    simulate,
    chaos,
)

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
