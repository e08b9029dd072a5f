"""A pipeline to time with no server round it: 100 requests/s, three batches. `--asleep S`: it takes that long first.

`--deaf`: it ignores SIGTERM.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--batch-sizes", type=json.loads)
parser.add_argument("--out", type=Path)
parser.add_argument("--asleep", type=float, default=0.0)
parser.add_argument("--deaf", action="store_true")
parser.add_argument("--mark")
options, _ = parser.parse_known_args()
(size,) = options.batch_sizes
if size == 13:
    sys.exit("no pipeline here")
if options.deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if options.asleep:
    print("asleep", file=sys.stderr, flush=True)
    options.out.with_suffix(".asleep").touch()
time.sleep(options.asleep)
rows = [f"{size},{run},{size / 100}" for run in (1, 2, 3)]
options.out.write_text("\n".join(["batch_size,run,total_s", *rows]) + "\n")
