"""What a dataset looks like before anything is trained on it."""

import pandas as pd

from r2d import prompts
from r2d.data import Dataset


def balance(dataset: Dataset) -> pd.DataFrame:
    """Cases and share of every label in every split, in label order; an absent label has 0."""
    rows = []
    for split, records in dataset.splits.items():
        for label in dataset.labels:
            cases = sum(r.label == label for r in records)
            rows.append({"split": split, "label": label, "cases": cases, "share": cases / len(records)})
    return pd.DataFrame(rows)


def lengths(dataset: Dataset, tokenizer, limits: tuple[int, int], sample: int = 2000) -> pd.DataFrame:
    """Token lengths of the first `sample` training inputs, rationales and labels, and the share that a limit cuts."""
    records = dataset.train[:sample]
    texts = {
        "input": ([prompts.explain(r.question, r.label) for r in records], limits[0]),
        "rationale": ([r.rationale for r in records], limits[1]),
        "label": (list(dataset.labels), None),
    }
    rows = []
    for name, (values, limit) in texts.items():
        found = pd.Series([len(ids) for ids in tokenizer(values)["input_ids"]])
        over = float((found > limit).mean()) if limit else 0.0
        quantiles = {"median": found.median(), "95 %": found.quantile(0.95), "longest": int(found.max())}
        rows.append({"text": name, **quantiles, "limit": limit or "–", "share cut": over})
    return pd.DataFrame(rows)
