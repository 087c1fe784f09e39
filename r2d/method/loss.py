"""The loss of one optimiser step, for every method: training back-propagates what this gives.

`loss` reads in the paper's order: the weights of the step, the coins, the model's own label where
the coin asks, the likelihoods, their combination. How texts become token ids, how many examples
go through the network at a time and how many processes share them is the training loop's affair,
behind `Model`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol

from torch import Tensor
from torch.nn.functional import cross_entropy

from r2d.method import prompts, schedules
from r2d.method.gate import Gate
from r2d.method.objective import Objective

IGNORE = -100  # target id of padding
Task = Literal["label", "rationale"]


class Case(Protocol):
    """One example: what stands for the question in a prompt, gold label, gold rationale (or "")."""

    text: str
    label: str
    rationale: str


class Model(Protocol):
    """What the loss asks of a network."""

    def decide(self, cases: Sequence[Case], train_mode: bool) -> list[str]:
        """The model's own greedy label of each case, without a gradient."""

    def confidences(self, cases: Sequence[Case], labels: Sequence[str]) -> list[float]:
        """How sure the model is of these labels: the geometric mean of their tokens' probability.

        The end token counts, padding does not (Reason2Decide-C).
        """

    def nll(self, task: Task, sources: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Summed negative log-likelihood of the targets' tokens after their prompts, a scalar."""

    def read_back(
        self,
        sources: Sequence[str],
        rationales: Sequence[str],
        labels: Sequence[str],
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """`nll` of the rationales, and that of the labels given the rationales as the model has it.

        For these, each token of a rationale is the mean embedding under a Gumbel-softmax sample of
        the model's distribution, at this temperature; a gradient passes through both.
        """

    def micro_batches(self, sources: Sequence[str], targets: Sequence[str]) -> list[list[int]]:
        """Which examples go through the network together."""


@dataclass(frozen=True)
class Batch:
    """One process's examples of an optimiser step.

    `coins` has a uniform number an example; `tokens` counts each task's target tokens (end tokens
    included, at least 1) over the *global* batch, so that a loss is a mean over those tokens. A
    gated method has a second coin an example, and the gate.
    """

    cases: Sequence[Case]
    coins: Tensor
    tokens: dict[Task, int]
    gate_coins: Tensor | None = None
    gate: Gate | None = None


@dataclass(frozen=True)
class Term:
    """A micro-batch's part in one task's loss: its summed `nll`, the task's weight, its tokens."""

    task: Task | Literal["cycle"]
    weight: float
    nll: Tensor
    tokens: int

    @property
    def value(self) -> Tensor:
        """The term itself, a scalar: `weight * nll / tokens`."""
        return self.weight * self.nll / self.tokens


@dataclass(frozen=True)
class Loss:
    """One step's loss: the sum of the terms of `parts`, which are computed as they are taken.

    `prompted` is the label in each example's rationale prompt, `sampled` whether that is the
    model's own; `confidences` are those of the labels that were decided, of a gated method. The
    terms of a part share a graph.
    """

    label_weight: float
    sampling_probability: float
    sampled: list[bool]
    prompted: list[str]
    confidences: list[float]
    parts: Iterator[list[Term]]

    @property
    def terms(self) -> Iterator[Term]:
        """Every term, one after the other."""
        return chain.from_iterable(self.parts)


def loss(model: Model, batch: Batch, objective: Objective, step: int, steps: int) -> Loss:
    """L = a(t) L_label + (1 - a(t)) L_rationale at optimiser step t = `step` of `steps`.

    Each L is the mean cross-entropy over that task's target tokens in the global batch (released
    code). The sum comes term by term, so that one micro-batch's graph is in memory at a time.
    Reason2Decide-C adds c L_cycle: can the prompt's label be read back from the rationale?
    """
    a = objective.label_weight_at(step, steps)
    c = objective.cycle_weight_at(step, steps)
    p = objective.sampling_probability_at(step, steps)

    # Task-level scheduled sampling: where its coin asks, an example is explained under the label
    # that the model itself would give now, right or wrong. The target stays the gold rationale;
    # where there is none, nothing is explained and no label is needed.
    asked = (batch.coins < p).tolist()
    sampled = [ask and bool(case.rationale) for ask, case in zip(asked, batch.cases, strict=True)]
    confidences: list[float] = []
    if objective.gated:
        prompted, sampled, confidences = _gated_labels(model, batch, objective, sampled, p)
    else:
        prompted = _labels(model, batch.cases, sampled, objective.sample_in_train_mode)

    labels = [case.label for case in batch.cases]
    rationales = [case.rationale for case in batch.cases]
    predict = [prompts.predict(case.text) for case in batch.cases]
    explain = [
        objective.explain_prompt(case.text, label)
        for case, label in zip(batch.cases, prompted, strict=True)
    ]

    def parts() -> Iterator[list[Term]]:
        for part in model.micro_batches(explain, rationales):
            if objective.predicts:  # also while a(t) is still 0, so that the log has its loss
                nll = model.nll("label", _at(part, predict), _at(part, labels))
                yield [Term("label", a, nll, batch.tokens["label"])]
            part = [k for k in part if rationales[k]]
            if part and c and any(_at(part, prompted)):  # an empty label can't be read back
                texts = _at(part, explain), _at(part, rationales), _at(part, prompted)
                nll, back = model.read_back(*texts, schedules.gumbel_temperature(step, steps))
                yield [
                    Term("rationale", 1 - a, nll, batch.tokens["rationale"]),
                    Term("cycle", c, back, batch.tokens["label"]),
                ]
            elif part and a < 1:
                nll = model.nll("rationale", _at(part, explain), _at(part, rationales))
                yield [Term("rationale", 1 - a, nll, batch.tokens["rationale"])]

    return Loss(a, p, sampled, prompted, confidences, parts())


def _labels(
    model: Model, cases: Sequence[Case], sampled: list[bool], train_mode: bool
) -> list[str]:
    """The label in each rationale prompt: the model's own where sampled, else the gold one."""
    chosen = [case for case, asked in zip(cases, sampled, strict=True) if asked]
    answers = iter(model.decide(chosen, train_mode) if chosen else [])
    pairs = zip(cases, sampled, strict=True)
    return [next(answers) if asked else case.label for case, asked in pairs]


def _gated_labels(
    model: Model, batch: Batch, objective: Objective, asked: list[bool], p: float
) -> tuple[list[str], list[bool], list[float]]:
    """Labels in the prompts, which of them are the model's own, and how sure it was of its labels.

    A label that was asked for has to pass the gate as well. While none is asked for yet (p = 0),
    every case's is decided, for the threshold's sake.
    """
    decided = asked if p > 0 else [bool(case.rationale) for case in batch.cases]
    places = [k for k, wanted in enumerate(decided) if wanted]
    cases = [batch.cases[k] for k in places]
    own = model.decide(cases, objective.sample_in_train_mode) if cases else []
    confidences = model.confidences(cases, own) if cases else []
    prompted = [case.label for case in batch.cases]
    sampled = [False] * len(prompted)
    for k, label, confidence in zip(places, own, confidences, strict=True):
        passes = batch.gate_coins[k].item() < batch.gate.probability(confidence)
        if asked[k] and passes:
            prompted[k], sampled[k] = label, True
    return prompted, sampled, confidences


def _at(part: list[int], texts: list[str]) -> list[str]:
    return [texts[k] for k in part]


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each token, 0 for `IGNORE`; both (rows, length), logits with a vocabulary.

    Minus the sum of a row is its text's log-probability.
    """
    across = logits.float().transpose(1, 2)
    return cross_entropy(across, targets, ignore_index=IGNORE, reduction="none")


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum of `token_losses`, a scalar."""
    flat = logits.float().flatten(0, 1)
    return cross_entropy(flat, targets.flatten(), ignore_index=IGNORE, reduction="sum")
