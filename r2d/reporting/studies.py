"""The studies beside the main comparison: rationale sources (E2), ablations (E3), exposure bias (E6) and cost (E7)."""

from collections.abc import Sequence

import pandas as pd

from r2d import paths
from r2d.evaluation import stats
from r2d.experiments import grid, run
from r2d.experiments.grid import Run
from r2d.recipes import Recipe
from r2d.reporting import results

RATIONALE_MEASURES = ("bertscore_f1", "sentence_bleu", "names_reason")
COST = ("parameters", "trainable", "trainable_share", "peak_memory_mb", "steps", "seconds", "seconds_per_step",
        "seconds_per_case")  # fmt: skip


def chosen(recipe: Recipe, name: str, experiments: Sequence[str]) -> tuple[list[Run], pd.DataFrame]:
    """An experiment's runs and their rows; both empty when it is not among the chosen ones."""
    own = grid.runs(recipe, [name]) if name in experiments else []
    return own, results.collect(recipe, own) if own else pd.DataFrame()


def sources(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """E2: the runs of `frame` with the rationales that stage 1 and stage 2 learned from.

    BERTScore and BLEU are against rationales of stage 2's own source: compare them within one source only.
    """
    named = []
    for dataset, method in zip(frame["dataset"], frame["method"], strict=True):
        first = recipe.methods[method].init
        named.append([recipe.data(dataset, m).rationale if m else "" for m in (first, method)])
    return frame.assign(
        **dict(
            zip(
                ("stage1_source", "stage2_source"), map(list, zip(*named, strict=True)), strict=True
            )
        )
    )


def differences(recipe: Recipe, frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Each method's accuracy minus the reference's, on every dataset that has the reference; paired and Holm-corrected."""
    tests = []
    for dataset, rows in frame.groupby("dataset", sort=False):
        methods = list(dict.fromkeys(rows["method"]))
        others = [m for m in methods if m != recipe.reference]
        if recipe.reference in methods and others:
            tests.append(results.compare(recipe, runs, dataset, others, recipe.reference))
    return pd.concat(tests, ignore_index=True) if tests else pd.DataFrame()


def exposure(recipe: Recipe, runs: Sequence[Run]) -> pd.DataFrame:
    """E6: rationale scores given the model's own label and given the gold one, over cases that it decided right and wrong.

    One row a run, measure and kind of case: n, `own` and `gold` with intervals over examples, and their paired
    difference `gap` (own - gold). Where the decision was right both prompts are the same; a method whose rationale prompt
    carries no label has no `gold`.
    """
    rows = []
    for dataset, method, seed in runs:
        found = run.read(paths.run(recipe.profile, dataset, method, seed))["metrics"]
        each = pd.DataFrame(found["per_example"])
        for measure in (m for m in RATIONALE_MEASURES if m in each):
            for kind, part in (
                ("right", each[each["correct"] == 1]),
                ("wrong", each[each["correct"] == 0]),
            ):
                row = {
                    "dataset": dataset,
                    "method": method,
                    "title": recipe.methods[method].title,
                    "seed": seed,
                }
                row |= {"measure": measure, "decision": kind, "n": len(part)}
                own, given = part[measure], part.get(f"{measure}_given_gold")
                row |= _mean("own", own)
                if given is not None:
                    row |= _mean("gold", given) | _mean("gap", own - given)
                rows.append(row)
    return pd.DataFrame(rows)


def cost(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """E7, table 2: what each network of the runs of `frame` costs, stage 1 in a row of its own; means over seeds.

    `seconds_per_case` is the label with its rationale, without what is decoded for the measures alone.
    """
    frame = frame.dropna(subset=["parameters"])
    frame = frame.assign(trainable_share=frame["trainable"] / frame["parameters"])
    table = (
        frame.groupby(["dataset", "method", "title"], sort=False)[list(COST)].mean().reset_index()
    )
    return table.assign(profile=recipe.profile)


def exposure_sentences(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    """E6 in words: what the gold label would have changed in rationales of wrongly decided cases."""
    lines = []
    for _, row in (
        table[(table["decision"] == "wrong") & table["gap_low"].notna()].iterrows()
        if "gap_low" in table
        else ()
    ):
        name = results.heading(row["measure"], recipe)
        said = f"{100 * row['own']:.1f} given its own label, {100 * row['gold']:.1f} given the gold one"
        around = f"difference {100 * row['gap']:+.1f}, 95 % interval {100 * row['gap_low']:+.1f} to {100 * row['gap_high']:+.1f}"
        noise = (
            ""
            if row["gap_low"] > 0 or row["gap_high"] < 0
            else " The difference is inside its noise."
        )
        lines.append(
            f"{row['title']} on {row['dataset']}, {row['n']} wrongly decided cases, {name}: {said} ({around}).{noise}"
        )
    return lines


def cost_sentences(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    """E7 in words: the reference's seconds a step and trainable share beside each other method's, on its dataset."""
    lines = []
    for dataset, rows in table.groupby("dataset", sort=False):
        own = rows[rows["method"] == recipe.reference]
        for _, row in rows[~rows["method"].isin([recipe.reference])].iterrows() if len(own) else ():
            ratio = own["seconds_per_step"].iloc[0] / row["seconds_per_step"]
            lines.append(
                f"A step of {own['title'].iloc[0]} takes {ratio:.2f} times one of {row['title']} on {dataset}, "
                f"which trains {row['trainable_share']:.0%} of its {row['parameters'] / 1e6:.2f} million parameters."
            )
    return lines


def _mean(name: str, values: pd.Series) -> dict:
    """Mean with its bootstrap interval over examples; empty cells where there are no values."""
    known = values.dropna().tolist()
    low, high = stats.interval(known) or (None, None)
    return {
        name: sum(known) / len(known) if known else None,
        f"{name}_low": low,
        f"{name}_high": high,
    }
