"""The machine of a run: hardware, its use over time, the code and its commit, and whether they are fit to measure."""
