"""python -m servers NAME [flags]: start one design. `--list` prints the designs with their settings and defaults."""

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from types import ModuleType

from servers.engine import EngineDied
from servers.fleet.processes import FleetError
from servers.http import serve
from servers.http.app import Design
from servers.rag.models import ModelError
from servers.settings import Settings, SettingsError, ignored_variables, load
from servers.telemetry import logs, tracing

log = logging.getLogger(__name__)
DESIGNS = ("baseline", "batched", "scaled")
"""Modules of this package, each with `SETTINGS` (a Settings class) and `create(settings) -> Design`."""

USAGE = f"""usage: python -m servers NAME [flags]      NAME is one of: {", ".join(DESIGNS)}
       python -m servers NAME --help       the flags of one design
       python -m servers --list            every design with its settings and their defaults
A setting is a flag, a variable RAG_NAME, or a line of the TOML file given with --config FILE, in this order of rank."""


def main(argv: Sequence[str] | None = None) -> int:
    """Start the design that is named; the exit status."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    if name == "--list":
        print(catalogue())
        return 0
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if name not in DESIGNS:
        return _fail((f"unknown design {name!r}\n" if name else "") + USAGE, status=2)
    module = design_module(name)
    ignored = ignored_variables()
    known = {field for other in DESIGNS for field in design_module(other).SETTINGS.model_fields}
    try:
        settings: Settings = load(module.SETTINGS, rest, prog=f"python -m servers {name}", known=known)
        design = module.create(settings)
        tracing.configure(name, endpoint=settings.otlp_endpoint)
    except (SettingsError, ValueError) as error:
        return _fail(f"{name}: {error}", status=2)
    logs.configure(name, level=settings.log_level, form=settings.log_format)
    if ignored:
        log.info("variables that Kubernetes made for a service are ignored: %s", ", ".join(ignored))
    try:
        return _run(name, design, settings)
    finally:
        tracing.close()


def _run(name: str, design: Design, settings: Settings) -> int:
    """Serve until stopped; the exit status. Any other end is reported in one line."""
    report = log.critical if settings.log_format == "json" else partial(print, file=sys.stderr)
    try:
        serve.run(name, design, settings)
    except (serve.BindError, ModelError, FleetError, EngineDied) as error:
        report(f"{name}: {error}")
        return getattr(error, "status", 1)
    except Exception as error:
        log.exception("a bug, or a fault of this machine")
        report(f"{name}: stopped by an error that nobody expected: {type(error).__name__}: {error}")
        return 1
    return 0


def design_module(name: str) -> ModuleType:
    """The module of one design."""
    return importlib.import_module(f"servers.{name}")


def catalogue() -> str:
    """Every design: its first docstring line, then its settings with defaults and meaning."""
    lines: list[str] = []
    for name in DESIGNS:
        module = design_module(name)
        lines.append(f"{name}: {(module.__doc__ or '').splitlines()[0]}")
        for field, info in module.SETTINGS.model_fields.items():
            lines.append(f"  --{field.replace('_', '-'):<26} {info.default!s:<14} {info.description}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _fail(message: str, *, status: int) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A model call on the engine thread cannot be interrupted; a normal exit would wait for it past the drain time.
    os._exit(status)
