"""Prints the questions of a SQuAD file as JSON lines, for `questions` under [workload] of a study."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random

from servers.rag.corpus.facts import DEFAULT_SEED, shuffle
from servers.rag.corpus.squad import read
from servers.rag.models import ModelError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print them."""
    parser = argparse.ArgumentParser(prog="python -m servers.rag.squad", description=__doc__)
    parser.add_argument("file", type=Path, help="SQuAD v1.1 JSON, or the hub data set's Parquet file")
    parser.add_argument("--size", type=int, help="the first so many contexts, as --corpus-size (all)")
    parser.add_argument("--count", type=int, help="questions, in random order (all, in the file's order)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of that order (%(default)s)")
    options = parser.parse_args(arguments)
    for name in ("size", "count"):
        if (number := getattr(options, name)) is not None and number < 1:
            parser.error(f"--{name} must be >= 1, got {number}")
    try:
        questions = [question for passage in read(options.file, options.size) for question in passage.questions]
    except ModelError as error:
        print(f"squad: {error}", file=sys.stderr)
        return 1
    if options.count is not None:
        if options.count > len(questions):
            print(f"squad: wanted {options.count} questions, but these contexts have {len(questions)}", file=sys.stderr)
            return 1
        shuffle(Random(options.seed), questions)
    for question in questions[: options.count]:
        print(json.dumps(asdict(question)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
