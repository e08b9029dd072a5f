"""python -m peers NAME [flags]: start one framework on the pipeline of the designs. `--help` lists the flags."""

import importlib
import sys
from collections.abc import Sequence

from peers.common import PeerSettings, free_port
from servers.rag.build import check_names
from servers.settings import load

PEERS = ("litserve", "mosec", "ray", "fastapi", "echo", "haproxy")
USAGE = f"usage: python -m peers NAME [flags]      NAME is one of: {', '.join(PEERS)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Start the framework that is named; the exit status."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    if name not in PEERS:
        print(f"unknown peer {name!r}\n{USAGE}" if name else USAGE, file=sys.stderr)
        return 2
    try:
        settings = load(PeerSettings, rest, prog=f"python -m peers {name}")
        check_names(settings)
        serve = importlib.import_module(f"peers.{name}_peer").serve
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"{name}: {error}; pip install -c constraints.txt 'ragbench[peers]' has it", file=sys.stderr)
        return 1
    serve(settings, free_port(settings.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
