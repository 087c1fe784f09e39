"""The studies beside the main comparison: rationale sources (E2) and cost (E7), tables for people.

The numbers of exposure bias (E6) are made in `exposure` and `exposure_gaps`; the ablations (E3)
need nothing beyond `collect.runs` and `comparisons.with_reference`. What notebook 06 shows of E2,
E3 and E6 has a row a method, in points of 100; every run is in the CSVs.
"""

from collections.abc import Sequence

import pandas as pd

from r2d.experiments import grid
from r2d.experiments.run import Run
from r2d.recipes import Recipe
from r2d.reporting import collect, comparisons, tables

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
SOURCES = {
    "rationale_llm": "LLM-style",
    "rationale_nurse": "nurse",
    "rationale_nurse_post": "post-processed",
    "": "none",
}
OF_SOURCES = ("macro_f1", "agreement", "names_reason", "copied")
OF_ABLATIONS = ("macro_f1", "agreement", "follows_label", "names_reason")
EMPTY = "–"


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


def means(
    recipe: Recipe, frame: pd.DataFrame, measures: Sequence[str] = OF_ABLATIONS
) -> pd.DataFrame:
    """The runs of `frame` for people: a row a dataset and method, how many runs, and each measure.

    A cell is `mean ± sd` over the runs in points of 100, macro-F1 with its interval, as in table 1;
    a measure that no run has has no column.
    """
    table = tables.summarise(frame)
    names = {"dataset": "dataset", "title": "method", "seeds": "runs"}
    shown = table[list(names)].rename(columns=names)
    for name in measures:
        if table[name].notna().any():
            shown[tables.heading(name, recipe)] = tables.cells(table, name)
    return shown


def source_means(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """E2 for people: `means` of the rows of `sources`, with what each stage learned from."""
    shown = means(recipe, frame, OF_SOURCES)
    methods = frame.drop_duplicates(["dataset", "method"])
    for place, stage in enumerate((1, 2), start=2):
        learned = [SOURCES.get(source, source) for source in methods[f"stage{stage}_source"]]
        shown.insert(place, f"stage {stage} learned from", learned)
    return shown


def exposure_means(support: pd.DataFrame, scores: pd.DataFrame, gaps: pd.DataFrame) -> pd.DataFrame:
    """E6 for people: a row a dataset and method, means over its runs in points of 100.

    The tables are `exposure.support` and `scores`, and `exposure_gaps.gaps`. In brackets 95 %
    intervals with seeds and cases random, the gap's corrected for the methods. The true reason is
    that of wrong decisions alone. A method of many degenerate rationales has a †, as in table 1; a
    column that is empty in all rows is left out.
    """
    rows = []
    for (dataset, method), runs in _by_method(support):
        row = _names(runs)
        row["Agreement"] = _interval(runs, "agreement", "agreement_method")
        for decision in ("right", "wrong"):
            told = _scores_of(scores, dataset, method, "agreement", decision)
            heading = tables.MEASURES[f"agreement_{decision}"]
            row[heading] = _interval(told, "own", "own_method")
        told = _scores_of(scores, dataset, method, "names_reason", "wrong")
        for label in ("own", "gold"):
            row[f"True reason, told {label} label"] = _interval(told, label, f"{label}_method")
        row["Exposure gap (own - gold)"] = _gap(gaps, dataset, method)
        follows = _interval(runs, "follows_label", "follows_label_method")
        row[tables.MEASURES["follows_label"]] = follows
        rows.append(row)
    return _without_empty(rows)


def probe_means(support: pd.DataFrame) -> pd.DataFrame:
    """E6's further measures for people, from `exposure.support`: means over a method's runs.

    Reason2Decide-C's consistency and sufficiency with their chance levels, how large a share of the
    cases gets one label back from its rationale, the modifier and what is denied.
    """
    rows = []
    for _, runs in _by_method(support):
        row = _names(runs)
        for name in ("consistency", "sufficiency"):
            row[f"{name.capitalize()} (by chance)"] = _beside_chance(runs, name)
        row["largest share of one label"] = _points(runs, "probe_share")
        for name in ("names_modifier", "denies_present"):
            row[tables.MEASURES[name]] = _points(runs, name)
        rows.append(row)
    return _without_empty(rows)


def _by_method(frame: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each dataset and method, in their order; none of an empty table."""
    return list(frame.groupby(["dataset", "method"], sort=False)) if len(frame) else []


def _names(runs: pd.DataFrame) -> dict:
    """The first cells of a method's row of E6, from its rows of `exposure.support`."""
    first = runs.iloc[0]
    inflated = runs["degenerate"].astype(float).mean() >= tables.INFLATED
    method = f"{first['title']} †" if inflated else first["title"]
    return {"dataset": first["dataset"], "method": method, "runs": len(runs)}


def _scores_of(
    scores: pd.DataFrame, dataset: str, method: str, measure: str, decision: str
) -> pd.DataFrame:
    """The rows of `exposure.scores` of a method's runs that have such a decision."""
    own = (scores["dataset"] == dataset) & (scores["method"] == method) & (scores["n"] > 0)
    return scores[own & (scores["measure"] == measure) & (scores["decision"] == decision)]


def _points(runs: pd.DataFrame, name: str) -> str:
    """The mean over runs in points of 100; a dash where none has it."""
    mean = runs[name].astype(float).mean() if name in runs else None
    return EMPTY if pd.isna(mean) else f"{100 * mean:.1f}"


def _interval(runs: pd.DataFrame, name: str, ends: str) -> str:
    """The same with the method's interval, `<ends>_low` and `<ends>_high`, in brackets."""
    text = _points(runs, name)
    if text == EMPTY or pd.isna(runs[f"{ends}_low"].iloc[0]):
        return text
    low, high = (100 * runs[f"{ends}_{end}"].iloc[0] for end in ("low", "high"))
    return f"{text} [{low:.0f}, {high:.0f}]"


def _beside_chance(runs: pd.DataFrame, name: str) -> str:
    text, chance = _points(runs, name), _points(runs, f"{name}_chance")
    return text if chance == EMPTY else f"{text} ({chance})"


def _gap(gaps: pd.DataFrame, dataset: str, method: str) -> str:
    """A method's gap in naming the true reason, in points; a dash where it has none."""
    if gaps.empty:
        return EMPTY
    own = gaps[(gaps["dataset"] == dataset) & (gaps["method"] == method)]
    own = own[own["measure"] == "names_reason"]
    return comparisons.in_points(own.iloc[0]) if len(own) else EMPTY


def _without_empty(rows: Sequence[dict]) -> pd.DataFrame:
    """The rows as a table, without the columns in which all have a dash."""
    table = pd.DataFrame(rows)
    return table.loc[:, (table != EMPTY).any()]


def cost(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """E7, table 2: what each network of the runs of `frame` costs, means over so many `seeds`.

    Stage 1 has a row of its own, and so has each number format. `seconds_per_case` is the label
    with its rationale, without what is decoded for the measures alone; in batches, where
    `latency_median` and `latency_p95` are of one case at a time.
    """
    networks = frame.dropna(subset=["parameters"])
    networks = networks.assign(trainable_share=networks["trainable"] / networks["parameters"])
    groups = networks.groupby(["dataset", "method", "title", "precision"], sort=False)
    table = groups[list(COST)].mean().assign(seeds=groups["seed"].nunique())
    return table.reset_index().assign(profile=recipe.profile)


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
