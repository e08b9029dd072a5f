"""Retrieval by itself, measured: what `ragbench retrieval` starts. Serves nothing."""
