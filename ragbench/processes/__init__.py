"""Processes that are started, heard, and ended with all that they started. Knows no study."""
