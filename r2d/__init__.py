"""r2d: the reproducible companion to Reason2Decide (arXiv 2512.20074)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r2d.use import Predictor

__version__ = "0.1.0"


class R2DError(ValueError):
    """A problem its reader can mend: one sentence saying what, where and how."""


def load(run_folder) -> "Predictor":
    """The trained model of a finished run folder, ready to `predict`; torch is imported here, not with the package."""
    from r2d.use import load

    return load(run_folder)
