"""Rationales read by a trained network (E6): a second opinion on which label each supports.

The network is a reader: the recipe's own backbone, trained on gold rationales alone to give their
labels. Where a dataset's own measure is exact (synthetic triage), it tells how far a reader may be
trusted; elsewhere the two stand side by side, each with its accuracy on gold rationales.
"""

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from r2d.evaluation import metrics
from r2d.evaluation.support import Reader
from r2d.experiments.run import Run, load_decoder
from r2d.method import prompts
from r2d.models import ctranslate
from r2d.reporting.collect import reader_cells
from r2d.reporting.exposure import cells
from r2d.reporting.tables import MEASURES

BY = ["dataset", "reader", "method"]
SHARES = ("agreement", "agreement_right", "agreement_wrong", "follows_label")


def support(runs: Sequence[Run], readers: Sequence[Run]) -> pd.DataFrame:
    """`exposure.support` as each trained reader of a run's dataset has it.

    One row a reader and run that writes rationales: the shares with their chance levels, its
    accuracy on gold rationales (`reader_on_gold`, `reader_chance`), and `same`, the share of the
    cases of which it says what the run's own measure says, which reads by `beside`.
    """
    rows = []
    for reading in readers:
        reader = trained(reading)
        for run in runs:
            if reader is not None and run.dataset == reading.dataset:
                rows += _rows(run, reader)
    return pd.DataFrame(rows)


def trained(run: Run) -> Reader | None:
    """The reader that a finished run has learned to be; None where labels are no fixed set."""
    decoder, _ = load_decoder(run.folder)
    if not decoder.labels:
        return None
    decoder.model.eval()
    decoder.engine = ctranslate.engine(decoder.network)
    known: dict[str, str] = {}

    def labels(rationales: Sequence[str]) -> list[str | None]:
        new = [text for text in dict.fromkeys(rationales) if text.strip() and text not in known]
        rows = decoder.encode(prompts.predict(text) for text in new)
        known.update(zip(new, decoder.label_texts(rows, "score"), strict=True))
        return [known.get(text) for text in rationales]

    return Reader(run.title, labels)


def _rows(run: Run, reader: Reader) -> list[dict]:
    """The row of a run, none where it wrote no rationales."""
    finished = run.read()
    predictions, measured = finished["predictions"], finished["metrics"]
    if not any(each.get("rationale") for each in predictions):
        return []
    correct = measured["per_example"]["correct"]
    found = {"metrics": {}, "signatures": {}, "per_example": {"correct": correct}}
    metrics.add_reading(found, predictions, reader, run.recipe.metrics.resamples)
    if "reader" not in found:
        return []
    row = run.names | {"title": run.title, "n": len(predictions)}
    row |= cells(found["metrics"], SHARES)
    row |= reader_cells(found)
    if "agreement" in measured["per_example"]:
        agreements = (each["per_example"]["agreement"] for each in (found, measured))
        same = [one == other for one, other in zip(*agreements, strict=True) if other is not None]
        row |= {"beside": measured["reader"]["name"], "same": fmean(same)}
    return [row]


def means(table: pd.DataFrame) -> pd.DataFrame:
    """`support` for people: a row a reader and method, means over its runs in points of 100.

    The reader is named where there are several. A column that is empty in all rows is left out.
    """
    named = {"same": "Both readings say the same"} | {name: MEASURES[name] for name in SHARES}
    if table.empty:
        return table
    several = table.groupby("dataset")["reader"].nunique().max() > 1
    rows = []
    for names, runs in table.groupby(BY, sort=False):
        row = {"reader": names[1]} if several else {}
        row |= {"dataset": names[0], "method": runs["title"].iloc[0], "runs": len(runs)}
        values = runs.reindex(columns=list(named)).astype(float).mean()
        rows.append(row | {heading: 100 * values[name] for name, heading in named.items()})
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def sentences(table: pd.DataFrame) -> list[str]:
    """`support` in words: a sentence a dataset and reader, means over each method's runs."""
    if table.empty:
        return []
    found = []
    for (dataset, reader), rows in table.groupby(["dataset", "reader"], sort=False):
        text = (
            f"{reader}, trained on gold rationales of {dataset}, reads the label of "
            f"{rows['reader_on_gold'].mean():.1%} of those of test "
            f"(by chance {rows['reader_chance'].mean():.1%})"
        )
        if "same" in rows:
            text += (
                f", and agrees on {rows['same'].mean():.1%} of the models' rationales with the "
                f"reading by {rows['beside'].iloc[0]}"
            )
        each = [
            f"{runs['title'].iloc[0]} {runs['agreement'].mean():.1%}"
            for _, runs in rows.groupby("method", sort=False)
        ]
        found.append(f"{text}. By it the rationale supports the decided label: {', '.join(each)}.")
    return found
