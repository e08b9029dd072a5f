"""Instruments that time the pipeline and the retrievers without a server."""
