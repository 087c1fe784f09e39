"""r2d: the reproducible companion to Reason2Decide (arXiv 2512.20074)."""

import os
from typing import TYPE_CHECKING

from r2d.errors import R2DError

if TYPE_CHECKING:
    from r2d.deploy.predict import Predictor

__all__ = ["R2DError", "load"]
__version__ = "0.1.0"
# OpenMP reads these when torch is loaded: threads that wait for each other soon sleep. Beside other
# work, threads that spun for long made a small T5 decode thirty times slower; on an idle machine,
# threads that slept at once made it twice as slow.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # turns, where OpenMP is GNU's


def load(run_folder, engine="ctranslate2") -> "Predictor":
    """The trained model of a finished run folder, ready to `predict`; only this imports torch.

    `engine` is what decodes on the CPU: `ctranslate2`, `int8` or `torch`.
    """
    from r2d.deploy.predict import load

    return load(run_folder, engine)
