"""The designs under test. Each is one command: `python -m servers NAME`; none of them knows the harness."""

import os

# Read when torch is first imported, by whoever runs a pipeline of ours. Threads that spin while they wait for work
# starve whoever shares the cores: with a busy second core one batch took 11.7 s instead of 0.76 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
