"""The studies beside the main comparison: sources (E2), exposure bias (E6) and cost (E7).

The ablations (E3) need nothing beyond `collect.runs` and `comparisons.with_reference`.
"""

from collections.abc import Sequence

import pandas as pd

from r2d.evaluation import stats
from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import collect, tables

RATIONALE_MEASURES = ("bertscore_f1", "sentence_bleu", "names_reason")
COST = (
    "parameters",
    "trainable",
    "trainable_share",
    "peak_memory_mb",
    "steps",
    "seconds",
    "seconds_per_step",
    "cpu_seconds_per_step",
    "seconds_per_case",
    "latency_median",
    "latency_p95",
)


def chosen(recipe: Recipe, name: str, experiments: Sequence[str]) -> tuple[list[Run], pd.DataFrame]:
    """An experiment's runs and their rows; both empty when it is not among the chosen ones."""
    if name not in experiments:
        return [], pd.DataFrame()
    runs = grid.runs(recipe, [name])
    return runs, collect.runs(runs)


def sources(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """E2: the runs of `frame` with the rationales that stage 1 and stage 2 learned from.

    BERTScore and BLEU are against rationales of stage 2's own source: compare them within one
    source only.
    """
    first, second = [], []
    for dataset, method in zip(frame["dataset"], frame["method"], strict=True):
        start = recipe.methods[method].init
        first.append(recipe.data(dataset, start).rationale if start else "")
        second.append(recipe.data(dataset, method).rationale)
    return frame.assign(stage1_source=first, stage2_source=second)


def exposure(runs: Sequence[Run]) -> pd.DataFrame:
    """E6: rationale scores given the model's own label and the gold one, right and wrong decisions.

    One row a run, measure and decision: n, `own` and `gold` with intervals over examples, and
    their paired difference `gap` (own - gold). Where the decision was right both prompts are the
    same; a method whose rationale prompt carries no label has no `gold`.
    """
    rows = []
    for run in runs:
        examples = pd.DataFrame(run.read()["metrics"]["per_example"])
        for measure in RATIONALE_MEASURES:
            if measure in examples:
                rows += [_exposure(run, measure, *part) for part in _by_decision(examples)]
    return pd.DataFrame(rows)


def _by_decision(examples: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    right = examples["correct"] == 1
    return [("right", examples[right]), ("wrong", examples[examples["correct"] == 0])]


def _exposure(run: Run, measure: str, decision: str, examples: pd.DataFrame) -> dict:
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


def exposure_sentences(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    """E6 in words: what the gold label would have changed in rationales of wrong decisions."""
    if "gap_low" not in table:
        return []
    wrong = table[(table["decision"] == "wrong") & table["gap_low"].notna()]
    return [_exposure_sentence(recipe, row) for _, row in wrong.iterrows()]


def _exposure_sentence(recipe: Recipe, row: pd.Series) -> str:
    cases = f"{row['title']} on {row['dataset']}, {row['n']} wrongly decided cases"
    measure = tables.heading(row["measure"], recipe)
    given_own = f"{100 * row['own']:.1f} given its own label"
    given_gold = f"{100 * row['gold']:.1f} given the gold one"
    interval = f"95 % interval {100 * row['gap_low']:+.1f} to {100 * row['gap_high']:+.1f}"
    gap = f"difference {100 * row['gap']:+.1f}, {interval}"
    noise = " The difference is inside its noise."
    if row["gap_low"] > 0 or row["gap_high"] < 0:
        noise = ""
    return f"{cases}, {measure}: {given_own}, {given_gold} ({gap}).{noise}"


def cost(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """E7, table 2: what each network of the runs of `frame` costs, means over seeds.

    Stage 1 has a row of its own. `seconds_per_case` is the label with its rationale, without what
    is decoded for the measures alone; in batches, where `latency_median` and `latency_p95` are of
    one case at a time.
    """
    networks = frame.dropna(subset=["parameters"])
    networks = networks.assign(trainable_share=networks["trainable"] / networks["parameters"])
    groups = networks.groupby(["dataset", "method", "title"], sort=False)
    return groups[list(COST)].mean().reset_index().assign(profile=recipe.profile)


def cost_sentences(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    """E7 in words: the reference's seconds a step beside each other method's, on its dataset.

    Each sentence ends with the other method's trainable share.
    """
    sentences = []
    for dataset, rows in table.groupby("dataset", sort=False):
        is_reference = rows["method"] == recipe.reference
        if not is_reference.any():
            continue
        reference = rows[is_reference].iloc[0]
        for _, row in rows[~is_reference].iterrows():
            ratio = reference["seconds_per_step"] / row["seconds_per_step"]
            sentences.append(
                f"A step of {reference['title']} takes {ratio:.2f} times one of {row['title']} on "
                f"{dataset}, which trains {row['trainable_share']:.0%} of its "
                f"{row['parameters'] / 1e6:.2f} million parameters."
            )
    return sentences
