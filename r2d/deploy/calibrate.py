"""Calibrating a finished run: the temperature under which its probabilities can be believed."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from r2d import hashes, paths
from r2d.data.record import Record
from r2d.deploy import predict
from r2d.errors import R2DError
from r2d.evaluation import calibration
from r2d.experiments import directory, run

FEW = 100  # validation cases below which a temperature is rough


def calibrate(run_folder: str | Path) -> dict:
    """Fit the temperature of a finished run, write `calibration.json` into it, and return its data.

    For validation and test: cases, accuracy, and nll, ece and reliability table before and after;
    `curve` is validation's `coverage` after. Needs the run's dataset. Raises `R2DError` where the
    run has no model that decides.
    """
    folder = paths.of_user(run_folder)
    predictor = predict.load(folder)
    if predictor.open_labels:
        raise R2DError(
            f"{predictor.title} has open labels, so there are no probabilities over a set of them "
            "to calibrate: use it as it is."
        )
    dataset = run.load_dataset(folder)
    validation = _scores_and_gold(predictor, dataset.validation)
    test = _scores_and_gold(predictor, dataset.test)
    temperature = calibration.fit_temperature(*validation)
    answers = calibration.confidence_and_hits(*validation, temperature)
    result = {
        "temperature": temperature,
        "bins": f"{calibration.BINS} bins of equal width",
        "validation": calibration.before_and_after(*validation, temperature),
        "test": calibration.before_and_after(*test, temperature),
        "curve": calibration.coverage(*answers).to_dict("records"),
    }
    text = json.dumps(result, indent=1, allow_nan=False)
    paths.write(folder / directory.CALIBRATION, text)
    hashes.record_again(folder, directory.CALIBRATION)
    return result


def sentences(result: dict) -> list[str]:
    """What `calibrate` gave in words, its sample sizes with it."""
    test, cases = result["test"], result["validation"]["n"]
    few = " That is few: the temperature is rough." if cases < FEW else ""
    return [
        f"Temperature {result['temperature']:.3f}, fitted on {cases} validation cases.{few}",
        f"ECE on {test['n']} test cases: {test['ece_before']:.3f} before, "
        f"{test['ece_after']:.3f} after ({result['bins']}).",
    ]


def abstention(result: dict, target_accuracy: float) -> str:
    """Below which confidence to abstain so as to reach an accuracy on validation, in words."""
    curve = pd.DataFrame(result["curve"])
    row = calibration.choose_threshold(curve, target_accuracy)
    # Rounded up, the threshold would leave out the case that it stands on.
    threshold = math.floor(row["threshold"] * 1e4) / 1e4
    return (
        f"--abstain-below {threshold:.4f} answers {row['coverage']:.0%} of validation at "
        f"{row['accuracy']:.0%} accuracy."
    )


def _scores_and_gold(
    predictor: predict.Predictor, records: Sequence[Record]
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of every case's choices, (cases, choices), and the gold choice's index."""
    choices = [record.candidates or predictor.labels for record in records]
    gold = [labels.index(record.label) for labels, record in zip(choices, records, strict=True)]
    candidates = [] if predictor.labels else choices
    scores = predictor.scores([record.question for record in records], candidates)
    return scores.numpy(), np.array(gold)
