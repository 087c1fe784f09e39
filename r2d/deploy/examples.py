"""The README's two cases: one that the reference decides right, one that it decides wrong.

They are a finished run's own answers, with what its calibration says of them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from r2d import paths
from r2d.data import load_card
from r2d.data.record import Record
from r2d.deploy import calibrate, predict
from r2d.errors import R2DError
from r2d.evaluation import calibration
from r2d.experiments import directory, grid, run
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import cases, manifest
from r2d.reporting.readme import EXAMPLES

WANTED = 0.95  # the accuracy on validation for whose sake it would abstain


def write(recipe: Recipe) -> Path:
    """Write `examples.json` beside the run's figures, with its origin.

    The cases are the first ones of their outcome among those that notebook 03 shows, a convincing
    wrong one before another. Calibrates the run where it is not yet. Raises `R2DError` where no
    synthetic dataset has the reference, since other notes are not shown.
    """
    chosen = _reference(recipe)
    folder, finished = chosen.folder, chosen.read()
    loaded = run.load_dataset(folder)
    if not (folder / directory.CALIBRATION).is_file():
        calibrate.calibrate(folder)
    calibrated = directory.read_file(folder, directory.CALIBRATION)
    curve = pd.DataFrame(calibrated["curve"])
    limit = calibration.choose_threshold(curve, min(WANTED, curve["accuracy"].max()))
    threshold = float(limit["threshold"])
    shown = _one_right_one_wrong(cases.pick(loaded, chosen.title, finished), finished)
    result = {
        "run": str(folder.relative_to(paths.home())),
        "title": chosen.title,
        "temperature": calibrated["temperature"],
        "abstain_below": threshold,
        "coverage": float(limit["coverage"]),
        "accuracy": float(limit["accuracy"]),
        "examples": _answered(shown, finished, predict.load(folder), threshold),
    }
    file = paths.figures(recipe.profile) / EXAMPLES
    file.parent.mkdir(parents=True, exist_ok=True)
    paths.write(file, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    inputs = [folder / directory.PREDICTIONS, folder / directory.CALIBRATION]
    manifest.record_origin(EXAMPLES, file, recipe, inputs)
    return file


def _one_right_one_wrong(shown: Sequence[cases.Example], finished: dict) -> list[Record]:
    outcome_of = cases.outcomes(finished)
    first: dict[str, Record] = {}
    for each in shown:
        first.setdefault(outcome_of[each.record.id], each.record)
    wrong = first.get(cases.CONVINCING) or first.get(cases.WRONG)
    return [record for record in (first.get(cases.RIGHT), wrong) if record]


def _answered(
    records: Sequence[Record], finished: dict, predictor: predict.Predictor, abstain_below: float
) -> list[dict]:
    """The run's answers to these cases, and how sure its calibrated model is of them."""
    outcome_of = cases.outcomes(finished)
    predictions = {each["id"]: each for each in finished["predictions"]}
    notes = [record.question for record in records]
    answers = predictor.predict(notes, explain=False, abstain_below=abstain_below)
    examples = []
    for record, answer in zip(records, answers, strict=True):
        prediction = predictions[record.id]
        examples.append(
            {
                "outcome": outcome_of[record.id],
                "kind": record.kind,
                "note": record.text,
                "gold": record.label,
                "label": prediction["label"],
                "rationale": prediction["rationale"],
                "gold_rationale": record.rationale,
                "confidence": answer.probabilities.get(prediction["label"], 0.0),
                "abstained": answer.abstained,
            }
        )
    return examples


def _reference(recipe: Recipe) -> Run:
    """The reference's first run on a synthetic dataset."""
    for each in grid.runs(recipe, list(recipe.experiments)):
        if each.method == recipe.reference:
            if load_card(recipe.datasets[each.dataset].card).synthetic:
                return each
    raise R2DError(
        f"Profile {recipe.profile} has no run of {recipe.reference} on synthetic cases, and others "
        "are not shown: choose another profile."
    )
