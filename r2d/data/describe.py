"""What a dataset looks like before anything is trained on it."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from r2d.data import triage
from r2d.data.dataset import Dataset
from r2d.method import prompts

OPEN = "any text"  # what stands for the classes of open labels


def balance(dataset: Dataset) -> pd.DataFrame:
    """Cases and share of every label in every split, in label order; an absent label has 0.

    Open labels, of which hardly one comes twice, count as one.
    """
    rows = []
    for split, records in dataset.splits.items():
        is_open = dataset.has_open_labels
        counts = Counter(OPEN if is_open else record.category for record in records)
        for label in dataset.categories or (OPEN,):
            share = counts[label] / len(records)
            rows.append({"split": split, "label": label, "cases": counts[label], "share": share})
    return pd.DataFrame(rows)


def kinds(dataset: Dataset) -> pd.DataFrame:
    """What has to be read in synthetic notes: a row a kind of case, in the order of `triage.KINDS`.

    `train` and `test` are its shares; `question` and `label` are its shortest training note, and
    `counted` the label that a reader of findings alone would give that: every finding that is named
    counts, denied or a relative's, and no modifier does. `missed` is the share of the kind's test
    cases that such a reader gets wrong. Without rows where records have no kinds.
    """
    rows = []
    for kind in triage.KINDS:
        train, test = (
            [r for r in split if r.kind == kind] for split in (dataset.train, dataset.test)
        )
        if not train or not test:
            continue
        example = min(train, key=lambda record: len(record.question))
        missed = sum(_counted(record.facts) != record.label for record in test)
        rows.append(
            {
                "kind": kind,
                "train": len(train) / len(dataset.train),
                "test": len(test) / len(dataset.test),
                "question": example.question,
                "label": example.label,
                "counted": _counted(example.facts),
                "missed": missed / len(test),
            }
        )
    return pd.DataFrame(rows)


def _counted(facts: str) -> str:
    return triage.decide(facts, negation=False, modifiers=False)


def lengths(
    dataset: Dataset, tokenizer, limits: tuple[int, int], sample: int = 2000
) -> pd.DataFrame:
    """Token lengths of the first `sample` training inputs, rationales and labels.

    `share cut` is the share that is longer than its limit; labels have none.
    """
    cases = [(r.text, r.label, r.rationale) for r in dataset.train[:sample]]
    labels = dataset.labels or {label for _, label, _ in cases}
    return lengths_of(cases, labels, tokenizer, limits)


def lengths_of(
    cases: Sequence[tuple[str, str, str]], labels: Iterable[str], tokenizer, limits: tuple[int, int]
) -> pd.DataFrame:
    """The same of (case, label, rationale) texts; a text that no case has gets no row."""
    texts = {
        "input": [prompts.explain(case, label) for case, label, _ in cases],
        "rationale": [rationale for *_, rationale in cases if rationale],
        "label": list(labels),
    }
    input_limit, rationale_limit = limits
    text_limits = {"input": input_limit, "rationale": rationale_limit, "label": None}
    rows = [
        {"text": name, **_lengths(values, tokenizer, text_limits[name])}
        for name, values in texts.items()
        if values
    ]
    return pd.DataFrame(rows)


def _lengths(texts: Sequence[str], tokenizer, limit: int | None) -> dict:
    tokens = pd.Series([len(ids) for ids in tokenizer(texts)["input_ids"]])
    return {
        "median": tokens.median(),
        "95 %": tokens.quantile(0.95),
        "longest": int(tokens.max()),
        "limit": limit or "–",
        "share cut": float((tokens > limit).mean()) if limit else 0.0,
    }
