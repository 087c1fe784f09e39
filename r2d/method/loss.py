"""The loss of one optimiser step, for every method: training back-propagates what this gives.

`loss` reads in the paper's order: the weights of the step, the coins, the model's own label where
the coin asks, the two likelihoods, their combination. How texts become token ids, how many examples
go through the network at a time and how many processes share them is the training loop's affair,
behind `Model`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor
from torch.nn.functional import cross_entropy

from r2d.method import prompts
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

    def nll(self, task: Task, sources: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Summed negative log-likelihood of the targets' tokens after their prompts, a scalar."""

    def micro_batches(self, sources: Sequence[str], targets: Sequence[str]) -> list[list[int]]:
        """Which examples go through the network together."""


@dataclass(frozen=True)
class Batch:
    """One process's examples of an optimiser step.

    `coins` has a uniform number an example; `tokens` counts each task's target tokens (end tokens
    included, at least 1) over the *global* batch, so that a loss is a mean over those tokens.
    """

    cases: Sequence[Case]
    coins: Tensor
    tokens: dict[Task, int]


@dataclass(frozen=True)
class Term:
    """A micro-batch's part in one task's loss: its summed `nll`, the task's weight, its tokens."""

    task: Task
    weight: float
    nll: Tensor
    tokens: int

    @property
    def value(self) -> Tensor:
        """The term itself, a scalar: `weight * nll / tokens`."""
        return self.weight * self.nll / self.tokens


@dataclass(frozen=True)
class Loss:
    """One step's loss: the sum of `terms`, which are computed as they are taken.

    `prompted` is the label in each example's rationale prompt, `sampled` whether that is the
    model's own.
    """

    label_weight: float
    sampling_probability: float
    sampled: list[bool]
    prompted: list[str]
    terms: Iterator[Term]


def loss(model: Model, batch: Batch, objective: Objective, step: int, steps: int) -> Loss:
    """L = a(t) L_label + (1 - a(t)) L_rationale at optimiser step t = `step` of `steps`.

    Each L is the mean cross-entropy over that task's target tokens in the global batch (released
    code). The sum comes term by term, so that one micro-batch's graph is in memory at a time.
    """
    a = objective.label_weight_at(step, steps)
    p = objective.sampling_probability_at(step, steps)

    # Task-level scheduled sampling: where its coin asks, an example is explained under the label
    # that the model itself would give now, right or wrong. The target stays the gold rationale;
    # where there is none, nothing is explained and no label is needed.
    asked = (batch.coins < p).tolist()
    sampled = [ask and bool(case.rationale) for ask, case in zip(asked, batch.cases, strict=True)]
    prompted = _labels(model, batch.cases, sampled, objective.sample_in_train_mode)

    labels = [case.label for case in batch.cases]
    rationales = [case.rationale for case in batch.cases]
    predict = [prompts.predict(case.text) for case in batch.cases]
    explain = [
        objective.explain_prompt(case.text, label)
        for case, label in zip(batch.cases, prompted, strict=True)
    ]

    def terms() -> Iterator[Term]:
        for part in model.micro_batches(explain, rationales):
            if objective.predicts:  # also while a(t) is still 0, so that the log has its loss
                nll = model.nll("label", _at(part, predict), _at(part, labels))
                yield Term("label", a, nll, batch.tokens["label"])
            part = [k for k in part if rationales[k]]
            if part and a < 1:
                nll = model.nll("rationale", _at(part, explain), _at(part, rationales))
                yield Term("rationale", 1 - a, nll, batch.tokens["rationale"])

    return Loss(a, p, sampled, prompted, terms())


def _labels(
    model: Model, cases: Sequence[Case], sampled: list[bool], train_mode: bool
) -> list[str]:
    """The label in each rationale prompt: the model's own where sampled, else the gold one."""
    chosen = [case for case, asked in zip(cases, sampled, strict=True) if asked]
    answers = iter(model.decide(chosen, train_mode) if chosen else [])
    pairs = zip(cases, sampled, strict=True)
    return [next(answers) if asked else case.label for case, asked in pairs]


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
