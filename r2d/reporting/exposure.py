"""Exposure bias (E6): does the rationale support the label that the model decided on?

A gap of zero between rationales told the model's own label and told the gold one has two causes: a
model that explains its own label as well as the gold one, and one whose rationale does not depend
on the label. So agreement of label and rationale stands first, and beside it the forced-label
probe; the gap in quality comes after (`exposure_gaps`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from r2d.evaluation import comparison, stats
from r2d.experiments.run import Run
from r2d.reporting import collect, comparisons, tables

RATIONALE_MEASURES = ("agreement", "names_reason", "bertscore_f1", "sentence_bleu")
SUPPORT = ("agreement", "agreement_right", "agreement_wrong", "follows_label", "degenerate")
SUPPORT += ("copied", "names_reason", "names_modifier", "denies_present")
SUPPORT += ("consistency", "sufficiency")


def scores(runs: Sequence[Run]) -> pd.DataFrame:
    """Rationale scores given the model's own label and the gold one, right and wrong decisions.

    One row a run, measure and decision: n, `own` and `gold` with intervals over examples, and
    their paired difference `gap` (own - gold). Where the decision was right both prompts are the
    same; a method whose rationale prompt carries no label has no `gold`. `own_method_low` and the
    like are the interval of the method's mean over these runs, seeds and examples random.
    """
    examples = {run: pd.DataFrame(run.read()["metrics"]["per_example"]) for run in runs}
    rows, intervals = [], {}
    for run, known in examples.items():
        alike = [examples[x] for x in runs if (x.dataset, x.method) == (run.dataset, run.method)]
        for measure in filter(known.__contains__, RATIONALE_MEASURES):
            for decision, part in _by_decision(known).items():
                of = run.dataset, run.method, measure, decision
                if of not in intervals:
                    intervals[of] = _method_intervals(alike, measure, decision)
                rows.append(_row(run, measure, decision, part) | intervals[of])
    return pd.DataFrame(rows)


def _method_intervals(runs: Sequence[pd.DataFrame], measure: str, decision: str) -> dict:
    """The cells of `scores` that are a method's, of the examples of its runs."""
    cells = {}
    for name, column in (("own", measure), ("gold", f"{measure}_given_gold")):
        if all(column in examples for examples in runs):
            parts = [_by_decision(each)[decision][column].astype(float) for each in runs]
            values = [part.reindex(runs[0].index).tolist() for part in parts if part.notna().any()]
            low, high = _interval(values)
            cells |= {f"{name}_method_low": low, f"{name}_method_high": high}
    return cells


def _interval(values: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    """95 % interval in [0, 1] of a mean, a list a run, with runs and examples random.

    There is none of fewer than two examples.
    """
    known = known_cases(values) if values else np.empty((0, 0))
    if known.shape[1] < 2:
        return None, None
    (test,) = comparison.corrected([against_zero(known)])
    return max(0.0, test["low"]), min(1.0, test["high"])


def _by_decision(examples: pd.DataFrame) -> dict[str, pd.DataFrame]:
    right = examples["correct"] == 1
    return {"right": examples[right], "wrong": examples[examples["correct"] == 0]}


def _row(run: Run, measure: str, decision: str, examples: pd.DataFrame) -> dict:
    row = {
        "dataset": run.dataset,
        "method": run.method,
        "title": run.title,
        "seed": run.seed,
        "measure": measure,
        "decision": decision,
        "n": len(examples),
    }
    own = examples[measure]
    row |= _mean("own", own)
    if f"{measure}_given_gold" in examples:
        gold = examples[f"{measure}_given_gold"]
        row |= _mean("gold", gold) | _mean("gap", own - gold)
    return row


def _mean(name: str, values: pd.Series) -> dict:
    """Mean with its bootstrap interval over examples; empty cells where there are no values."""
    known = values.dropna().tolist()
    low, high = stats.interval(known) or (None, None)
    mean = sum(known) / len(known) if known else None
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def support(runs: Sequence[Run]) -> pd.DataFrame:
    """Does the rationale support the decided label, and does it follow a label it is told?

    One row a run that writes rationales which can be read: those shares, with their chance levels;
    `reader` and `reader_on_gold`, its accuracy on gold rationales, which by chance is
    `reader_chance`; and the probe of Reason2Decide-C, the label from the rationale alone, with its
    chance levels, its commonest label and that label's share. `agreement_method_low` and the like
    are the interval of the method's mean over these runs, seeds and examples random.
    """
    rows, measured = [], metrics_of(runs)
    for run in runs:
        metrics = run.read()["metrics"]
        if "reader" not in metrics:
            continue
        row = run.names | {"title": run.title, "n": metrics["n"]}
        row |= cells(metrics["metrics"], SUPPORT)
        for name in ("agreement", "follows_label"):
            ends = comparisons.interval(measured[run.dataset, run.method], name) or (None, None)
            row |= dict(zip((f"{name}_method_low", f"{name}_method_high"), ends, strict=True))
        row |= collect.reader_cells(metrics)
        labels = metrics.get("label_from_rationale", {})
        if labels:
            commonest = max(labels, key=labels.get)
            row |= {"probe_label": commonest, "probe_share": labels[commonest] / metrics["n"]}
        rows.append(row)
    return pd.DataFrame(rows)


def cells(measured: dict, names: Sequence[str]) -> dict:
    """A row's cells of these measures: value, n, interval and chance level, None where unknown."""
    row = {}
    for name in names:
        measure = measured.get(name, {})
        low, high = measure.get("interval") or (None, None)
        row |= {name: measure.get("value"), f"{name}_n": measure.get("n")}
        row |= {f"{name}_low": low, f"{name}_high": high, f"{name}_chance": measure.get("chance")}
    return row


def support_sentences(table: pd.DataFrame) -> list[str]:
    """`support` in words, a sentence a method, means over its runs; then what read the texts."""
    if table.empty:
        return []
    sentences = []
    for (dataset, _), rows in table.groupby(["dataset", "method"], sort=False):
        mean = rows.mean(numeric_only=True)
        text = (
            f"{rows['title'].iloc[0]} on {dataset} ({said_runs(len(rows))}): the rationale "
            f"supports the decided label in {mean['agreement']:.1%} of cases "
            f"(by chance {mean['agreement_chance']:.1%})"
        )
        if pd.notna(mean.get("agreement_wrong")):
            text += (
                f", in {mean['agreement_wrong']:.1%} of the {mean['agreement_wrong_n']:.0f} that "
                f"it decided wrongly (by chance {mean['agreement_wrong_chance']:.1%})"
            )
        if pd.notna(mean.get("follows_label")):
            text += (
                f"; told each label in turn, it supports {mean['follows_label']:.1%} of them "
                f"({mean['follows_label_chance']:.1%} at most if it did not listen)"
            )
        if mean["degenerate"] >= tables.INFLATED:
            text += f"; {mean['degenerate']:.0%} of its rationales are degenerate"
        sentences.append(f"{text}.")
    for (dataset, reader), rows in table.groupby(["dataset", "reader"], sort=False):
        sentences.append(
            f"On {dataset} rationales are read by {reader}: {rows['reader_on_gold'].mean():.1%} of "
            f"the gold ones are read as their label (by chance {rows['reader_chance'].mean():.1%})."
        )
    return sentences + _consistency(table)


def _consistency(table: pd.DataFrame) -> list[str]:
    """How often each method's own network reads the decided label back from its rationale."""
    sentences = []
    for dataset, rows in table[table["consistency"].notna()].groupby("dataset", sort=False):
        each = [
            f"{runs['title'].iloc[0]} {runs['consistency'].mean():.1%} "
            f"({runs['consistency_chance'].mean():.1%})"
            for _, runs in rows.groupby("method", sort=False)
        ]
        sentences.append(
            f"On {dataset} the network itself reads the decided label back from the rationale "
            f"alone (consistency, Reason2Decide-C; by chance): {', '.join(each)}."
        )
    return sentences


def against_zero(values: np.ndarray) -> dict:
    """The comparison of values, (runs, cases), with a method that has zero everywhere."""
    cases = values.shape[1]
    drawn = comparison.resample(cases)
    found = comparison.mean_scores(values, drawn)
    nothing = comparison.mean_scores(np.zeros(values.shape), drawn)
    return comparison.compare(found, nothing, cases)


def known_cases(values: Sequence[Sequence[float]]) -> np.ndarray:
    """Values, (runs, cases), of the cases of which any run has one."""
    table = np.array(values, dtype=float)
    return table[:, np.isfinite(table).any(axis=0)]


def metrics_of(runs: Sequence[Run]) -> dict[tuple[str, str], list[dict]]:
    """What each method's runs on each dataset measured."""
    metrics: dict[tuple[str, str], list[dict]] = {}
    for run in runs:
        metrics.setdefault((run.dataset, run.method), []).append(run.read()["metrics"])
    return metrics


def said_runs(n: int) -> str:
    """So many runs, in words."""
    return "one run" if n == 1 else f"{n} runs"
