"""Can the probabilities be believed? Expected calibration error, a temperature, when to abstain.

The temperature (Guo et al. 2017) divides the labels' log-probabilities before their softmax: it
changes no label, only how sure the model says it is. It is fitted on the validation split and
checked on the test split.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from r2d.errors import R2DError

BINS = 10
COLDEST, HOTTEST = 0.05, 20.0  # the temperatures that are tried


def probabilities(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities over the label set from log-probabilities, both (cases, labels)."""
    return softmax(np.asarray(scores, dtype=float) / temperature, axis=1)


def nll(scores: np.ndarray, gold: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood, in nats, of gold label indices."""
    log_probabilities = log_softmax(np.asarray(scores, dtype=float) / temperature, axis=1)
    return float(-log_probabilities[np.arange(len(gold)), gold].mean())


def fit_temperature(scores: np.ndarray, gold: np.ndarray) -> float:
    """The temperature in 0.05 to 20 with the least `nll`; above 1 the model was too sure."""
    if not len(gold):
        raise R2DError("A temperature needs validation cases: give the dataset a validation split.")
    least = minimize_scalar(
        lambda log_temperature: nll(scores, gold, np.exp(log_temperature)),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(least.x))


def confidence_and_hits(
    scores: np.ndarray, gold: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each case's likeliest label, and whether it is the gold one."""
    shares = probabilities(scores, temperature)
    return shares.max(axis=1), shares.argmax(axis=1) == gold


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Cases, mean confidence and accuracy of every equal-width bin that holds a case.

    One row a bin (low, high], of `bins` between 0 and 1.
    """
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.searchsorted(edges[1:-1], confidence)
    rows = []
    for k in np.unique(bin_of):
        inside = bin_of == k
        rows.append(
            {
                "low": float(edges[k]),
                "high": float(edges[k + 1]),
                "n": int(inside.sum()),
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(correct[inside].mean()),
            }
        )
    return pd.DataFrame(rows)


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error over equal-width bins, in 0 to 1.

    The mean gap of confidence and accuracy, weighted by cases.
    """
    table = reliability(confidence, correct, bins)
    gaps = (table["confidence"] - table["accuracy"]).abs()
    return float((gaps * table["n"]).sum() / table["n"].sum())


def before_and_after(scores: np.ndarray, gold: np.ndarray, temperature: float) -> dict:
    """A split's cases and accuracy, and nll, ece and reliability without and with `temperature`."""
    hits = np.argmax(scores, axis=1) == gold
    measures = {"n": len(gold), "accuracy": float(hits.mean())}
    for when, value in (("before", 1.0), ("after", temperature)):
        answers = confidence_and_hits(scores, gold, value)
        measures[f"nll_{when}"] = nll(scores, gold, value)
        measures[f"ece_{when}"] = ece(*answers)
        measures[f"reliability_{when}"] = reliability(*answers).to_dict("records")
    return measures


def coverage(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """For every confidence as threshold, rising: share of cases answered, accuracy over them."""
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    table = pd.DataFrame(
        {
            "threshold": confidence[order],
            "coverage": answered / len(order),
            "accuracy": correct[order].cumsum() / answered,
        }
    )
    distinct = table.drop_duplicates("threshold", keep="last")
    return distinct.iloc[::-1].reset_index(drop=True)


def choose_threshold(curve: pd.DataFrame, target_accuracy: float) -> pd.Series:
    """The row of `coverage` that answers most cases with at least `target_accuracy`.

    Its threshold is what `abstain_below` takes. Raises `R2DError` when no threshold reaches it.
    """
    enough = curve[curve["accuracy"] >= target_accuracy]
    if enough.empty:
        best = curve["accuracy"].max()
        raise R2DError(
            f"No threshold reaches an accuracy of {target_accuracy:.0%} (the best is {best:.0%}): "
            "ask for less."
        )
    return enough.loc[enough["coverage"].idxmax()]
