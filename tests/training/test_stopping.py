"""Early stopping: which evaluations count, and when patience is used up."""

from r2d.training.stopping import Stopper


def test_patience_counts_from_the_start_of_selection_only():
    stopper = Stopper(patience=2, start=10, patience_start=10)
    assert not any(stopper.update(step, 0.9) for step in range(10))
    assert not stopper.stop
    assert stopper.best is None
    assert stopper.update(10, 0.5)
    assert not stopper.update(11, 0.5)  # no better
    assert not stopper.stop
    assert stopper.update(12, 0.6)
    assert not stopper.update(13, 0.1)
    assert not stopper.stop
    assert not stopper.update(14, 0.6)
    assert stopper.stop
    assert (stopper.best, stopper.best_step) == (0.6, 12)


def test_as_released_the_best_may_come_before_patience_counts():
    stopper = Stopper(patience=2, start=0, patience_start=10)
    assert stopper.update(2, 0.9)
    assert not any(stopper.update(step, 0.1) for step in range(3, 11))
    assert (stopper.best_step, stopper.bad, stopper.stop) == (2, 1, False)
    stopper.update(11, 0.2)
    assert stopper.stop
