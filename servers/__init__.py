"""The designs under test. Each is one command: `python -m servers NAME`; none of them knows the harness."""
