"""`python -m servers.rag.squad FILE` is `python -m servers.rag.corpus.squad FILE`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("servers.rag.corpus.squad", run_name="__main__", alter_sys=True)
