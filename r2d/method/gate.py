"""Reason2Decide-C's confidence gate: which of the model's own labels a prompt may carry."""

import math
from dataclasses import dataclass

from r2d.method.schedules import WARMUP

SHARPNESS = 10.0  # released code
WINDOW = 1 / 30  # of the steps: 1,000 of the released code's 30,000


@dataclass
class Gate:
    """The adaptive threshold tau, and the confidences of the present window.

    `threshold` is 1 during warm-up, then the mean confidence of warm-up, then of each window of
    steps in turn. A window in which no label was decided changes nothing. Source: released code,
    which measures the whole batch; here it is the labels that were decided anyway, whose coins do
    not depend on their confidence.
    """

    threshold: float = 1.0
    total: float = 0.0
    count: int = 0

    def probability(self, confidence: float) -> float:
        """How likely a label of this confidence passes: sigmoid(10 (c - tau))."""
        return 1 / (1 + math.exp(-SHARPNESS * (confidence - self.threshold)))

    def observe(
        self, step: int, steps: int, total: float, count: int, warmup: float = WARMUP
    ) -> None:
        """Take a step's summed confidences of `count` labels, over all processes."""
        self.total += total
        self.count += count
        if _closes_window(step + 1, steps, warmup) and self.count:
            self.threshold = self.total / self.count
            self.total, self.count = 0.0, 0


def _closes_window(done: int, steps: int, warmup: float) -> bool:
    """Whether warm-up, or a window after it, ends with this many steps."""
    after = done - math.ceil(warmup * steps)
    return after >= 0 and after % max(1, round(WINDOW * steps)) == 0
