"""r2d: the reproducible companion to Reason2Decide (arXiv 2512.20074)."""

from typing import TYPE_CHECKING

from r2d.errors import R2DError

if TYPE_CHECKING:
    from r2d.deploy.predict import Predictor

__all__ = ["R2DError", "load"]
__version__ = "0.1.0"


def load(run_folder) -> "Predictor":
    """The trained model of a finished run folder, ready to `predict`; only this imports torch."""
    from r2d.deploy.predict import load

    return load(run_folder)
