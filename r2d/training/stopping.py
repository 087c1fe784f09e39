"""Early stopping: which checkpoint is the best, and when patience is used up."""

from dataclasses import dataclass


@dataclass
class Stopper:
    """Best validation score so far (higher is better) and evaluations since then.

    With them go the run's `seconds` and peak memory over all its processes, as both must outlive a
    kill. Nothing is the best before step `start`, and no patience is lost before `patience_start`.
    """

    patience: int
    start: float = 0.0
    patience_start: float = 0.0
    best: float | None = None
    best_step: int = -1
    bad: int = 0
    seconds: float = 0.0
    peak_memory_mb: int = 0

    def update(self, step: int, score: float) -> bool:
        """Take an evaluation; True when it is the best so far."""
        if step < self.start:
            return False
        if self.best is None or score > self.best:
            self.best = score
            self.best_step = step
            self.bad = 0
            return True
        if step >= self.patience_start:
            self.bad += 1
        return False

    @property
    def stop(self) -> bool:
        """Whether patience is used up."""
        return self.bad >= self.patience
