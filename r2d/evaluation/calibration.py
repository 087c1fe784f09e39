"""Can the probabilities be believed? Expected calibration error, a temperature, and when to abstain.

The temperature (Guo et al. 2017) divides the labels' log-probabilities before their softmax: it changes no label, only how
sure the model says it is. It is fitted on the validation split and checked on the test split.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from r2d import paths
from r2d.errors import R2DError

FILE = "calibration.json"
BINS = 10


def probabilities(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities over the label set from log-probabilities, both (cases, labels)."""
    return softmax(np.asarray(scores, dtype=float) / temperature, axis=1)


def nll(scores: np.ndarray, gold: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood, in nats, of gold label indices."""
    logs = log_softmax(np.asarray(scores, dtype=float) / temperature, axis=1)
    return float(-logs[np.arange(len(gold)), gold].mean())


def fit_temperature(scores: np.ndarray, gold: np.ndarray) -> float:
    """The temperature in 0.05 to 20 with the least `nll`; above 1 the model was too sure of itself."""
    if not len(gold):
        raise R2DError("A temperature needs validation cases: give the dataset a validation split.")
    found = minimize_scalar(
        lambda log: nll(scores, gold, np.exp(log)), bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-6}
    )  # fmt: skip
    return float(np.exp(found.x))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """One row for each of `bins` equal-width bins (low, high] that holds a case: n, mean confidence, accuracy."""
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], confidence)
    rows = []
    for k in np.unique(place):
        inside = place == k
        means = {
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(correct[inside].mean()),
        }
        rows.append(
            {"low": float(edges[k]), "high": float(edges[k + 1]), "n": int(inside.sum()), **means}
        )
    return pd.DataFrame(rows)


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error over equal-width bins: mean gap of confidence and accuracy, weighted by cases, in 0 to 1."""
    table = reliability(confidence, correct, bins)
    return float(
        ((table["confidence"] - table["accuracy"]).abs() * table["n"]).sum() / table["n"].sum()
    )


def coverage(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """For every confidence as threshold, rising: the share of cases answered and the accuracy over them."""
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
    return table.drop_duplicates("threshold", keep="last").iloc[::-1].reset_index(drop=True)


def choose_threshold(curve: pd.DataFrame, target_accuracy: float) -> pd.Series:
    """The row of `coverage` that answers most cases with at least `target_accuracy`; `abstain_below` is its threshold.

    Raises `R2DError` when no threshold reaches it.
    """
    enough = curve[curve["accuracy"] >= target_accuracy]
    if enough.empty:
        best = curve["accuracy"].max()
        raise R2DError(
            f"No threshold reaches an accuracy of {target_accuracy:.0%} (the best is {best:.0%}): ask for less."
        )
    return enough.loc[enough["coverage"].idxmax()]


def calibrate(run_folder: str | Path) -> dict:
    """Fit the temperature of a finished run, write `calibration.json` into it, and return what it says.

    For validation and test: cases, accuracy, and nll, ece and reliability table before and after; `curve` is validation's
    `coverage` after. Needs the run's dataset. Raises `R2DError` where the run has no model that decides.
    """
    from r2d import data
    from r2d.deploy import predict
    from r2d.experiments import run
    from r2d.recipes.settings import DataSettings

    folder = Path(run_folder).expanduser()
    model = predict.load(folder)
    made = run.read(folder)
    settings = dict(made["config"]["dataset"])
    loaded = data.load(settings.pop("name"), DataSettings(**settings))
    if loaded.fingerprint != made["env"]["dataset_fingerprint"]:
        raise R2DError(
            f"The dataset of {folder} has changed since that run: restore it, or train again on the new one."
        )
    scored = {}
    for split, records in (("validation", loaded.validation), ("test", loaded.test)):
        place = {label: k for k, label in enumerate(model.labels)}
        gold = np.array([place[r.label] if place else r.candidates.index(r.label) for r in records])
        own = [] if place else [record.candidates for record in records]
        scored[split] = model.scores([record.question for record in records], own).numpy(), gold
    temperature = fit_temperature(*scored["validation"])
    found = {"temperature": temperature, "bins": f"{BINS} bins of equal width"}
    found |= {split: _both(*pair, temperature) for split, pair in scored.items()}
    found["curve"] = coverage(*_answers(*scored["validation"], temperature)).to_dict("records")
    paths.write(folder / FILE, json.dumps(found, indent=1))
    return found


def sentences(found: dict) -> list[str]:
    """A calibration in words, its sample sizes with it."""
    test, cases = found["test"], found["validation"]["n"]
    few = " That is few: the temperature is rough." if cases < 100 else ""
    return [
        f"Temperature {found['temperature']:.3f}, fitted on {cases} validation cases.{few}",
        f"ECE on {test['n']} test cases: {test['ece_before']:.3f} before, {test['ece_after']:.3f} after ({found['bins']}).",
    ]


def figure(found: dict, recipe, title: str):
    """Reliability on the test split before and after (left), and validation's accuracy against coverage (right)."""
    from r2d.reporting.figures import _finish, _panels

    made, (left, right) = _panels(1, 2, height=3.4)
    left.plot([0, 1], [0, 1], color="#777777", ls="--", lw=1)
    for when, shade in (("before", "#D55E00"), ("after", "#0072B2")):
        table = pd.DataFrame(found["test"][f"reliability_{when}"])
        name = f"{when}: ECE {found['test'][f'ece_{when}']:.3f}"
        left.plot(table["confidence"], table["accuracy"], "o-", color=shade, ms=4, label=name)
    left.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="Confidence",
        ylabel="Accuracy",
        title=f"Test, {found['test']['n']} cases",
    )
    left.legend(frameon=False, fontsize=8, loc="upper left")
    curve = pd.DataFrame(found["curve"])
    right.plot(curve["coverage"], curve["accuracy"], "o-", color="#009E73", ms=3)
    right.set(
        xlim=(0, 1.02),
        ylim=(0, 1.02),
        xlabel="Share of cases answered",
        ylabel="Accuracy over them",
    )
    right.set_title(f"Abstaining, validation, {found['validation']['n']} cases")
    return _finish(made, title, recipe)


def _answers(
    scores: np.ndarray, gold: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and correctness of the likeliest label of each case."""
    found = probabilities(scores, temperature)
    return found.max(1), found.argmax(1) == gold


def _both(scores: np.ndarray, gold: np.ndarray, temperature: float) -> dict:
    """One split's measures without and with the temperature."""
    measures = {"n": len(gold), "accuracy": float((np.argmax(scores, 1) == gold).mean())}
    for when, value in (("before", 1.0), ("after", temperature)):
        answers = _answers(scores, gold, value)
        measures |= {f"nll_{when}": nll(scores, gold, value), f"ece_{when}": ece(*answers)}
        measures[f"reliability_{when}"] = reliability(*answers).to_dict("records")
    return measures
