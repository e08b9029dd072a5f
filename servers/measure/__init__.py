"""Instruments that time what servers run. They serve nobody."""
