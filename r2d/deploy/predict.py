"""Using what was trained: labels with their probabilities, rationales, and when to leave a case to a person.

model = r2d.load("runs/mini/triage/r2d-full/seed1")
model.predict(["chest pain x 2h, sweaty"], abstain_below=0.6)
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from r2d.data.record import MOST_CANDIDATES, options, some
from r2d.errors import R2DError
from r2d.evaluation.calibration import FILE
from r2d.experiments import run
from r2d.method import prompts
from r2d.method.objective import OBJECTIVES, Objective
from r2d.models.decode import Decoder, score

Choices = Sequence[Sequence[str]]


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
    """A finished run's model: `labels` is its label set, `temperature` that of its calibration (1 without one).

    Where each case brings its own candidates `labels` is empty, and a case is given with them: `candidates[i]` of `texts[i]`.
    """

    def __init__(
        self, decoder: Decoder, objective: Objective, title: str, temperature: float = 1.0
    ):
        self.decoder, self.objective, self.title, self.temperature = (
            decoder,
            objective,
            title,
            temperature,
        )
        self.labels = decoder.labels
        decoder.model.eval()

    def scores(self, texts: Sequence[str], candidates: Choices = ()) -> torch.Tensor:
        """Exact log-probability of every label's text, shape (texts, labels); not normalised over the label set.

        A case with fewer candidates than another has -inf in their place.
        """
        choices = self._choices(texts, candidates)
        rows = self.decoder.encode(map(prompts.predict, self._cases(texts, choices)))
        return score(self.decoder.network, rows, choices, self.decoder.batch)

    def predict(
        self,
        texts: Sequence[str],
        explain: bool = True,
        abstain_below: float | None = None,
        candidates: Choices = (),
    ) -> list[Prediction]:
        """A prediction for each text, in order; probabilities sum to 1 over the label set or the case's own candidates.

        The label is the likeliest of the set, so it is always valid, where the run's metrics measure the label as freely
        generated. Raises `R2DError` for a blank text, missing or unwanted candidates or an `abstain_below` outside 0 to 1.
        """
        if abstain_below is not None and not 0 <= abstain_below <= 1:
            raise R2DError(f"abstain_below is {abstain_below}: give a probability between 0 and 1.")
        choices = self._choices(texts, candidates)
        found = torch.softmax(
            self.scores(texts, candidates).double() / self.temperature, 1
        ).tolist()
        best = [own[row.index(max(row))] for own, row in zip(choices, found, strict=True)]
        cases = self._cases(texts, choices)
        written = (
            self._rationales(cases, best)
            if explain and self.objective.explains
            else [None] * len(best)
        )
        return [
            Prediction(
                label,
                dict(zip(own, row, strict=False)),
                why,
                max(row),
                max(row) < (abstain_below or 0),
            )
            for label, own, row, why in zip(best, choices, found, written, strict=True)
        ]

    def explain_under(self, text: str, candidates: Sequence[str] = ()) -> dict[str, str]:
        """The rationale that the model writes for `text` under each possible label: what it would say for another answer.

        Raises `R2DError` for a model whose rationale does not depend on a label.
        """
        if not self.explains_labels:
            raise R2DError(
                f"{self.title} writes no rationale for a given label: load a run of R2D instead."
            )
        (choices,) = found = self._choices([text], [candidates])
        written = self._rationales(self._cases([text], found) * len(choices), choices)
        return dict(zip(choices, written, strict=True))

    @property
    def explains_labels(self) -> bool:
        """Whether rationales are written for a given label (R2D), so that they can be asked for under each."""
        return self.objective.explains and self.objective.names_label

    def _choices(self, texts: Sequence[str], candidates: Choices) -> list[tuple[str, ...]]:
        """What each text's label is chosen from."""
        own = list(candidates) or [()] * len(_checked(texts))
        if len(own) != len(texts):
            raise R2DError(
                f"There are {len(texts)} texts and candidates for {len(own)}: give candidates for each text."
            )
        if self.labels and any(own):
            raise R2DError(
                f"{self.title} has a label set of its own, {some(self.labels)}: leave the candidates out."
            )
        found = [self.labels or options(each) for each in own]
        if None in found:
            raise R2DError(
                f"Case {found.index(None) + 1} needs 2 to {MOST_CANDIDATES} different candidates of its own."
            )
        return found

    def _cases(self, texts: Sequence[str], choices: list[tuple[str, ...]]) -> list[str]:
        return [
            prompts.case(t, () if self.labels else own)
            for t, own in zip(_checked(texts), choices, strict=True)
        ]

    def _rationales(self, cases: Sequence[str], labels: Sequence[str]) -> list[str]:
        pairs = zip(cases, labels, strict=True)
        return self.decoder.rationales(
            [prompts.explain(t, label if self.explains_labels else None) for t, label in pairs]
        )


def load(run_folder: str | Path) -> Predictor:
    """The model of a finished run; with its temperature where `calibration.json` is in the folder.

    The folder is enough, except for a backbone that an adapter needs. Raises `R2DError` for an unfinished run and for one
    that has no model to decide with (majority, TF-IDF, stage 1).
    """
    folder = Path(run_folder).expanduser()
    found = run.read(folder)
    method, title = found["config"]["method"], found["env"]["title"]
    if method["objective"] not in OBJECTIVES:
        raise R2DError(
            f"{title} is a sanity row without a model to load: load a run of SFT, DSS or R2D."
        )
    if not OBJECTIVES[method["objective"]].predicts:
        raise R2DError(
            f"{title} learned rationales only and can't decide: load the R2D run that starts from it."
        )
    decoder, objective = run.load_decoder(folder)
    kept = folder / FILE
    temperature = (
        json.loads(kept.read_text(encoding="utf-8"))["temperature"] if kept.is_file() else 1.0
    )
    return Predictor(decoder, objective, title, temperature)


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise R2DError("Give a list of texts, even for one: predict([text]).")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise R2DError(f"Text {number} is empty or not a text: give each case some words.")
    return list(texts)
