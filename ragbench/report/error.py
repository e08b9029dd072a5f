"""The error of a report that cannot be made, apart from page.py, which brings Jupyter. Makes no report."""

__all__ = ["ReportError"]


class ReportError(RuntimeError):
    """The notebook did not run through; says which cell failed and where the half-run notebook lies."""
