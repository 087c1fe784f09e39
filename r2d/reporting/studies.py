"""The studies beside the main comparison: rationale sources (E2) and cost (E7).

Exposure bias (E6) is in `exposure`; the ablations (E3) need nothing beyond `collect.runs` and
`comparisons.with_reference`.
"""

from collections.abc import Sequence

import pandas as pd

from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import collect

COST = (
    "parameters",
    "trainable",
    "trainable_share",
    "peak_memory_mb",
    "steps",
    "target_tokens",
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


def cost(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """E7, table 2: what each network of the runs of `frame` costs, means over seeds.

    Stage 1 has a row of its own, and so has each number format. `seconds_per_case` is the label
    with its rationale, without what is decoded for the measures alone; in batches, where
    `latency_median` and `latency_p95` are of one case at a time.
    """
    networks = frame.dropna(subset=["parameters"])
    networks = networks.assign(trainable_share=networks["trainable"] / networks["parameters"])
    groups = networks.groupby(["dataset", "method", "title", "precision"], sort=False)
    return groups[list(COST)].mean().reset_index().assign(profile=recipe.profile)


def cost_sentences(recipe: Recipe, frame: pd.DataFrame) -> list[str]:
    """E7 in words, a sentence a dataset: the reference's time a step over each other method's.

    From the runs of `frame`, by CPU seconds, or by the clock on a GPU. The ratio is that of a
    seed's two runs, as mean and range over the seeds which have both; of one seed it has no spread,
    and nothing is said.
    """
    if frame.empty:
        return []
    on_cpu = (frame["device"] == "cpu").all()
    clock = "cpu_seconds_per_step" if on_cpu else "seconds_per_step"
    what = "of CPU time" if on_cpu else "by the clock"
    sentences = []
    for dataset, rows in frame.dropna(subset=["parameters"]).groupby("dataset", sort=False):
        by_seed = rows.pivot_table(index="seed", columns="method", values=clock, sort=False)
        if recipe.reference not in by_seed:
            continue
        each = []
        for method in by_seed.columns.drop(recipe.reference):
            ratios = (by_seed[recipe.reference] / by_seed[method]).dropna()
            if len(ratios) > 1:
                span = f"{ratios.min():.2f} to {ratios.max():.2f} over {len(ratios)} seeds"
                each.append(f"{ratios.mean():.2f} times {recipe.methods[method].title}'s ({span})")
        if each:
            sentences.append(
                f"A step of {recipe.methods[recipe.reference].title} on {dataset} takes, {what}, "
                f"{', '.join(each)}."
            )
    return sentences
