"""r2d: the reproducible companion to Reason2Decide (arXiv 2512.20074)."""

__version__ = "0.1.0"


class R2DError(ValueError):
    """A problem its reader can mend: one sentence saying what, where and how."""
