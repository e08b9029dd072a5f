"""`python -m servers.retrieval JOB.json` is `python -m servers.measure.retrieval JOB.json`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("servers.measure.retrieval", run_name="__main__", alter_sys=True)
