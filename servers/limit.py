"""`python -m servers.limit` is `python -m servers.measure.pipeline`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("servers.measure.pipeline", run_name="__main__", alter_sys=True)
