"""The three prompt forms of the paper (released code), in one place."""

PREDICT = "predict: {question}"
EXPLAIN = "explain: {question}"
EXPLAIN_LABEL = "given label: {label}, explain: {question}"


def predict(question: str) -> str:
    """Prompt whose target is the label."""
    return PREDICT.format(question=question)


def explain(question: str, label: str | None = None) -> str:
    """Prompt whose target is the rationale: of the question alone, or of the question and the label it must support."""
    if label is None:
        return EXPLAIN.format(question=question)
    return EXPLAIN_LABEL.format(label=label, question=question)
