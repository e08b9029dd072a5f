"""What a run runs on: hardware, its use over time, the code and its commit, and whether all that is fit to measure.."""
