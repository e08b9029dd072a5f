"""The command line. Each command is a file in cli/, imported when it is called.

Exit codes. 0: done. 1: measured, but a service gave no usable answers, or a load was not sent as asked. 2: the request
makes no sense. 130 and 143: interrupted by Ctrl-C and SIGTERM.
"""

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ragbench import __version__, cli
from ragbench.files.csv_table import RecordError
from ragbench.files.toml_tables import StudyError
from ragbench.files.unwritten import line_of
from ragbench.processes.interrupts import Interrupted, interruptible
from ragbench.terminal import say, tolerate

COMMANDS = (
    *("run", "load", "report", "doctor", "calibrate", "compare", "capacity", "limit", "retrieval", "simulate", "chaos"),
)
MOVED = {
    "plan": "run STUDY --dry-run",
    "summarise": "report FOLDER --slo KEY=VALUE, or --recompute",
    "answers": "report FOLDER --answers",
    "arrivals": "calibrate --arrivals",
}


def help_of(name: str) -> str:
    """The docstring of the function of a command, read from its source without importing it."""
    module = ast.parse((Path(cli.__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    return ast.get_docstring(functions[name]) or ""


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(__version__)
        raise typer.Exit


def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """How a RAG service behaves under load."""


def application(words: Sequence[str]) -> typer.Typer:
    """The command line for these words. Help lists all commands; only the one that is called is imported."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(about)
    called = next((word for word in words if not word.startswith("-")), None)
    for name in COMMANDS:
        if name == called:
            app.command(name)(getattr(importlib.import_module(f"ragbench.cli.{name}"), name))
        else:
            app.command(name, help=help_of(name))(lambda: None)
    return app


def main() -> None:
    """Run the command line; mistakes of the user are lines, not tracebacks."""
    tolerate(sys.stdout)
    tolerate(sys.stderr)
    if moved := MOVED.get("".join(sys.argv[1:2])):
        say(f"`ragbench {sys.argv[1]}` is now `ragbench {moved}`")
        sys.exit(2)
    try:
        with interruptible():
            application(sys.argv[1:])()
    except StudyError as error:
        for mistake in error.mistakes:
            say(mistake)
    except RecordError as error:
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
