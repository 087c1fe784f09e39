"""Using what was trained: labels with their probabilities, rationales, and when to leave a case to a person.

    model = r2d.load("runs/mini/triage/r2d-full/seed1")
    model.predict(["chest pain x 2h, sweaty"], abstain_below=0.6)
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from r2d import R2DError, prompts, run
from r2d.calibration import FILE
from r2d.decode import Decoder, score
from r2d.objective import OBJECTIVES, Objective


@dataclass(frozen=True)
class Prediction:
    """One answer: the likeliest label, the probability of each, and why; `rationale` is None where none was asked or learned.

    `abstained` says that `confidence`, the label's probability, is below what was asked for: leave the case to a person.
    """

    label: str
    probabilities: dict[str, float]
    rationale: str | None
    confidence: float
    abstained: bool


class Predictor:
    """A finished run's model: `labels` is its label set, `temperature` that of its calibration (1 without one)."""

    def __init__(self, decoder: Decoder, objective: Objective, title: str, temperature: float = 1.0):
        self.decoder, self.objective, self.title, self.temperature = decoder, objective, title, temperature
        self.labels = decoder.labels
        decoder.model.eval()

    def scores(self, texts: Sequence[str]) -> torch.Tensor:
        """Exact log-probability of every label's text, shape (texts, labels); not normalised over the label set."""
        rows = self.decoder.encode(map(prompts.predict, _checked(texts)))
        return score(self.decoder.model, self.decoder.tokenizer, rows, self.labels, self.decoder.batch)

    def predict(self, texts: Sequence[str], explain: bool = True, abstain_below: float | None = None) -> list[Prediction]:
        """A prediction for each text, in order; probabilities sum to 1 over the label set.

        The label is the likeliest of the set, so it is always valid, where the run's metrics measure the label as freely
        generated. Raises `R2DError` for a blank text or an `abstain_below` outside 0 to 1.
        """
        if abstain_below is not None and not 0 <= abstain_below <= 1:
            raise R2DError(f"abstain_below is {abstain_below}: give a probability between 0 and 1.")
        found = torch.softmax(self.scores(texts).double() / self.temperature, 1)
        best = [self.labels[k] for k in found.argmax(1).tolist()]
        written = self._rationales(texts, best) if explain and self.objective.explains else [None] * len(best)
        return [
            Prediction(label, dict(zip(self.labels, row, strict=True)), why, max(row), max(row) < (abstain_below or 0))
            for label, row, why in zip(best, found.tolist(), written, strict=True)
        ]

    def explain_under(self, text: str) -> dict[str, str]:
        """The rationale that the model writes for `text` under each possible label: what it would say for another answer.

        Raises `R2DError` for a model whose rationale does not depend on a label.
        """
        if not self.explains_labels:
            raise R2DError(f"{self.title} writes no rationale for a given label: load a run of R2D instead.")
        written = self._rationales([*_checked([text])] * len(self.labels), self.labels)
        return dict(zip(self.labels, written, strict=True))

    @property
    def explains_labels(self) -> bool:
        """Whether rationales are written for a given label (R2D), so that they can be asked for under each."""
        return self.objective.explains and self.objective.rationale_prompt == "given label"

    def _rationales(self, texts: Sequence[str], labels: Sequence[str]) -> list[str]:
        pairs = zip(texts, labels, strict=True)
        return self.decoder.rationales([prompts.explain(t, label if self.explains_labels else None) for t, label in pairs])


def load(run_folder: str | Path) -> Predictor:
    """The model of a finished run; with its temperature where `calibration.json` is in the folder.

    The folder is enough, except for a backbone that an adapter needs. Raises `R2DError` for an unfinished run and for one
    that has no model to decide with (majority, TF-IDF, stage 1).
    """
    folder = Path(run_folder).expanduser()
    method = run.read(folder)["config"]["method"]
    if method["objective"] not in OBJECTIVES:
        raise R2DError(f"{method['title']} is a sanity row without a model to load: load a run of SFT, DSS or R2D.")
    if not OBJECTIVES[method["objective"]].decides:
        raise R2DError(f"{method['title']} learned rationales only and can't decide: load the R2D run that starts from it.")
    decoder, objective = run.load_decoder(folder)
    kept = folder / FILE
    temperature = json.loads(kept.read_text(encoding="utf-8"))["temperature"] if kept.is_file() else 1.0
    return Predictor(decoder, objective, method["title"], temperature)


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise R2DError("Give a list of texts, even for one: predict([text]).")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise R2DError(f"Text {number} is empty or not a text: give each case some words.")
    return list(texts)
