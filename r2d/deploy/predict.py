"""Using what was trained: labels with their probabilities, rationales, and when to ask a person.

model = r2d.load("runs/mini/triage/r2d-full/seed1")
model.predict(["chest pain x 2h, sweaty"], abstain_below=0.6)
model.explain_words("chest pain x 2h, sweaty")
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from r2d import paths
from r2d.data import inline_options
from r2d.data.record import MOST_CANDIDATES, canonical, listed, options, text_fault
from r2d.deploy import int8, occlusion
from r2d.deploy.occlusion import Part
from r2d.errors import R2DError
from r2d.experiments import directory, run
from r2d.method import prompts
from r2d.method.objective import OBJECTIVES, Objective
from r2d.models import ctranslate
from r2d.models.decode import Decoder

Candidates = Sequence[Sequence[str]]
Engine = Literal["ctranslate2", "int8", "torch"]


@dataclass(frozen=True)
class Prediction:
    """One answer: the likeliest label, the probability of each, and why.

    Of open labels there is the one that was written, with the probability of just that text.
    `rationale` is None where none was asked for or learned. `abstained` says that `confidence`, the
    label's probability, is below what was asked for: leave the case to a person.
    """

    label: str
    probabilities: dict[str, float]
    rationale: str | None
    confidence: float
    abstained: bool


class Predictor:
    """A finished run's model; `temperature` is that of its calibration (1 without one).

    `labels` is its label set. Where each case brings its own candidates it is empty, and a case is
    given with them: `candidates[i]` of `texts[i]`, or in the text after `options_from`. With
    `open_labels` it is empty, too, and the label is any text that the model writes.
    """

    def __init__(
        self,
        decoder: Decoder,
        objective: Objective,
        title: str,
        temperature: float = 1.0,
        open_labels: bool = False,
        options_from: str | None = None,
    ):
        self.decoder = decoder
        self.objective = objective
        self.title = title
        self.temperature = temperature
        self.labels = decoder.labels
        self.open_labels = open_labels
        self.options_from = options_from
        decoder.model.eval()

    @property
    def takes_candidates(self) -> bool:
        """Whether each case brings its own options."""
        return not self.labels and not self.open_labels

    def scores(self, texts: Sequence[str], candidates: Candidates = ()) -> torch.Tensor:
        """Exact log-probability of every label's text, shape (texts, labels).

        They are not normalised over the label set. A case with fewer candidates than another has
        -inf in their place. Raises `R2DError` where labels are open.
        """
        if self.open_labels:
            raise R2DError(f"{self.title} has open labels, so there is no set of them to score.")
        texts, candidates = self._with_options(texts, candidates)
        choices = self._choices(texts, candidates)
        return self._score(self._cases(texts, choices), choices)

    def predict(
        self,
        texts: Sequence[str],
        explain: bool = True,
        abstain_below: float | None = None,
        candidates: Candidates = (),
    ) -> list[Prediction]:
        """A prediction for each text, in order.

        Probabilities sum to 1 over the label set or the case's own candidates. The label is the
        likeliest of them, so it is always valid, where the run's metrics measure the label as
        freely generated. Raises `R2DError` for a blank text, missing or unwanted candidates or an
        `abstain_below` outside 0 to 1.
        """
        if abstain_below is not None and not 0 <= abstain_below <= 1:
            raise R2DError(f"abstain_below is {abstain_below}: give a probability between 0 and 1.")
        texts, candidates = self._with_options(texts, candidates)
        choices = self._choices(texts, candidates)
        cases = self._cases(texts, choices)
        probabilities = self._probabilities(cases, choices)
        labels = [max(by_label, key=by_label.get) for by_label in probabilities]
        rationales = [None] * len(cases)
        if explain and self.objective.explains:
            rationales = self._rationales(cases, labels)
        predictions = []
        for label, by_label, rationale in zip(labels, probabilities, rationales, strict=True):
            confidence = by_label[label]
            abstained = confidence < (abstain_below or 0)
            predictions.append(Prediction(label, by_label, rationale, confidence, abstained))
        return predictions

    def explain_under(
        self, text: str, candidates: Sequence[str] = (), labels: Sequence[str] = ()
    ) -> dict[str, str]:
        """The rationale that the model writes for `text` under each possible label, or of `labels`.

        That is what it would say for another answer. Raises `R2DError` for a model whose rationale
        does not depend on a label, and for a label that is none of the case's.
        """
        if not self.explains_labels:
            advice = "ask predict for one" if self.open_labels else "load a run of R2D instead"
            raise R2DError(f"{self.title} writes no rationale for a given label: {advice}.")
        texts, given = self._with_options([text], [candidates])
        choices = self._choices(texts, given)
        wanted = [self._known(label, choices[0]) for label in labels] or choices[0]
        cases = self._cases(texts, choices) * len(wanted)
        return dict(zip(wanted, self._rationales(cases, wanted), strict=True))

    def explain_words(
        self, text: str, candidates: Sequence[str] = (), label: str | None = None
    ) -> list[Part]:
        """What each word of `text` does for `label`, by default the decided one.

        A word's weight is log p(label | text) - log p(label | text without the word), exact for any
        backbone; a text of more than `occlusion.MOST_PARTS` words is weighed by its clauses. Of two
        words that say the same, neither has much weight, as the other is left. Raises `R2DError`
        for a label that is none of the case's.
        """
        texts, given = self._with_options([text], [candidates])
        choices = self._choices(texts, given)
        if label is None:
            (by_label,) = self._probabilities(self._cases(texts, choices), choices)
            label = max(by_label, key=by_label.get)
        label = self._known(label, choices[0])
        pieces = occlusion.parts(texts[0])
        variants = [texts[0], *occlusion.without_each(pieces)]
        cases = self._cases(variants, choices * len(variants))
        whole, *rest = self._score(cases, [(label,)] * len(cases))[:, 0].tolist()
        return [Part(piece, whole - score) for piece, score in zip(pieces, rest, strict=True)]

    @property
    def explains_labels(self) -> bool:
        """Whether a rationale can be asked for under each label, as it is written for one (R2D)."""
        return self.objective.explains and self.objective.names_label and not self.open_labels

    def _with_options(
        self, texts: Sequence[str], candidates: Candidates
    ) -> tuple[Sequence[str], Candidates]:
        """The texts without the options in them, which are the candidates of those without any."""
        _check(texts)
        if not self.options_from or (candidates and len(candidates) != len(texts)):
            return texts, candidates
        given = list(candidates) or [()] * len(texts)
        stems = list(texts)
        for i, text in enumerate(texts):
            if not given[i]:
                stems[i], given[i] = inline_options.split(text, self.options_from)
        return stems, given

    def _choices(self, texts: Sequence[str], candidates: Candidates) -> list[tuple[str, ...]]:
        """What each text's label is chosen from; nothing where labels are open."""
        given = list(candidates) or [()] * len(texts)
        if len(given) != len(texts):
            raise R2DError(
                f"There are {len(texts)} texts and candidates for {len(given)}: give candidates "
                "for each text."
            )
        if self.labels:
            if any(given):
                raise R2DError(
                    f"{self.title} has a label set of its own, {listed(self.labels)}: leave the "
                    "candidates out."
                )
            return [self.labels] * len(texts)
        if self.open_labels:
            if any(given):
                raise R2DError(f"{self.title} has open labels: leave the candidates out.")
            return [()] * len(texts)
        choices = [options(each) for each in given]
        if None in choices:
            place = f" after {self.options_from!r} in its text" if self.options_from else ""
            raise R2DError(
                f"Case {choices.index(None) + 1} needs 2 to {MOST_CANDIDATES} different candidates "
                f"of its own{place}."
            )
        return choices

    def _cases(self, texts: Sequence[str], choices: list[tuple[str, ...]]) -> list[str]:
        """What stands for each question in a prompt: its own candidates are in it."""
        if not self.takes_candidates:
            return list(texts)
        return [prompts.case(text, each) for text, each in zip(texts, choices, strict=True)]

    def _known(self, label: str, choices: Sequence[str]) -> str:
        """The label as the model knows it; any text is one where labels are open."""
        known = label if self.open_labels else canonical(label, choices)
        if not known:
            raise R2DError(
                f"{listed([label])} is no label of this case: choose one of {listed(choices)}."
            )
        return known

    def _probabilities(
        self, cases: list[str], choices: list[tuple[str, ...]]
    ) -> list[dict[str, float]]:
        """The probability of each label of each case."""
        return self._written(cases) if self.open_labels else self._chosen(cases, choices)

    def _chosen(self, cases: list[str], choices: list[tuple[str, ...]]) -> list[dict[str, float]]:
        """The probability of each label that a case's is chosen from."""
        scores = self._score(cases, choices).double()
        probabilities = torch.softmax(scores / self.temperature, 1).tolist()
        # A row is as long as the longest: what is left of it is padding.
        pairs = zip(choices, probabilities, strict=True)
        return [dict(zip(known, row, strict=False)) for known, row in pairs]

    def _written(self, cases: list[str]) -> list[dict[str, float]]:
        """The label that the model writes for each case, with the probability of that text."""
        rows = self.decoder.encode(prompts.predict(case) for case in cases)
        labels = self.decoder.label_texts(rows)
        scores = self._score(cases, [(label,) for label in labels])[:, 0].tolist()
        return [{label: math.exp(value)} for label, value in zip(labels, scores, strict=True)]

    def _score(self, cases: list[str], choices: list[tuple[str, ...]]) -> torch.Tensor:
        rows = self.decoder.encode(prompts.predict(case) for case in cases)
        return self.decoder.score(rows, choices)

    def _rationales(self, cases: Sequence[str], labels: Sequence[str]) -> list[str]:
        pairs = zip(cases, labels, strict=True)
        return self.decoder.rationales(
            [self.objective.explain_prompt(case, label) for case, label in pairs]
        )


def load(run_folder: str | Path, engine: Engine = "ctranslate2") -> Predictor:
    """The model of a finished run; with its temperature where `calibration.json` is in the folder.

    The folder is enough, except for a backbone that an adapter needs. On the CPU CTranslate2
    decodes, in float32, or in `int8` where that changes few labels of the run's validation set;
    `torch` is for comparison. Raises `R2DError` for an unfinished or damaged run, and for one that
    has no model to decide a case with (majority, TF-IDF, stage 1, a reader of rationales).
    """
    folder = paths.of_user(run_folder)
    finished = directory.read(folder)
    name, title = finished["config"]["method"]["objective"], finished["env"]["title"]
    if name not in OBJECTIVES:
        raise R2DError(
            f"{title} is a sanity row without a model to load: load a run of SFT, DSS or R2D."
        )
    if not OBJECTIVES[name].predicts:
        raise R2DError(
            f"{title} learned rationales only and can't decide: load the R2D run that starts from "
            "it."
        )
    expect_cases_read(finished)
    temperature = _temperature(folder)
    decoder, objective = run.load_decoder(folder)
    dataset = finished["config"]["dataset"]
    is_open, marker = dataset.get("labels") == "open", dataset.get("options_from")
    predictor = Predictor(decoder, objective, title, temperature, is_open, marker)
    if engine != "torch":
        decoder.engine = ctranslate.engine(decoder.network)
    if engine == "int8" and decoder.engine:
        int8.use_if_alike(decoder, folder, "generate" if is_open else "score")
    return predictor


def expect_cases_read(finished: dict) -> None:
    """Refuse a run whose model was shown gold rationales where others are shown cases."""
    if finished["config"]["dataset"].get("reads") == "rationale":
        raise R2DError(
            f"{finished['env']['title']} reads rationales and knows no case: choose a run of SFT, "
            "DSS or R2D."
        )


def _temperature(folder: Path) -> float:
    """That of a run's calibration; 1 where it has none."""
    path = folder / directory.CALIBRATION
    if not path.is_file():
        return 1.0
    temperature = directory.read_file(folder, path.name)["temperature"]
    if temperature <= 0:
        cure = directory.cure(folder, path.name)
        raise R2DError(f"{path} has a temperature that is not above 0; {cure}.")
    return temperature


def _check(texts: Sequence[str]) -> None:
    """Raise `R2DError` unless every text has words."""
    if isinstance(texts, str):
        raise R2DError("Give a list of texts, even for one: predict([text]).")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise R2DError(f"Text {number} is empty or not a text: give each case some words.")
        if fault := text_fault(text):
            raise R2DError(f"Text {number}: {fault}.")
