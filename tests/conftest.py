"""For every test: one thread for torch and BLAS, in the tests and in the servers that they start.

Two threads wait for each other, spinning, wherever another program has one of the cores: on two shared cores a test of
generation took 65 s with two and 2.6 s with one. Set before anything imports torch.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
