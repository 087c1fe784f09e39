"""The three prompt forms of the paper (released code), and how a case shows its own candidates."""

from collections.abc import Sequence

PREDICT = "predict: {question}"
EXPLAIN = "explain: {question}"
EXPLAIN_LABEL = "given label: {label}, explain: {question}"
# Multiple choice is no part of the paper: how a case shows its candidates is ours.
CHOICE = "options: {candidates}; case: {question}"


def case(question: str, candidates: Sequence[str] = ()) -> str:
    """What stands for `{question}`: the question, after its own candidates if it brings any.

    They come first so that a cut spares them.
    """
    if not candidates:
        return question
    return CHOICE.format(candidates=" | ".join(candidates), question=question)


def predict(question: str) -> str:
    """Prompt whose target is the label."""
    return PREDICT.format(question=question)


def explain(question: str, label: str | None = None) -> str:
    """Prompt whose target is the rationale: of the question, and of the label it must support."""
    if label is None:
        return EXPLAIN.format(question=question)
    return EXPLAIN_LABEL.format(label=label, question=question)
