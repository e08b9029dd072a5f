"""The harness: launches servers, drives load open loop, records, summarises, plots.

It knows a server by its command line, its ready line and its HTTP face, and imports neither `servers` nor torch.
"""

__version__ = "0.1.0"
