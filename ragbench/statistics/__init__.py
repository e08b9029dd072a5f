"""Rows to figures: quantiles, intervals, growth, verdicts, the summary of a point. Pure."""
