"""Figures of the studies: rationale sources (2), ablations (3) and exposure bias (6)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from r2d.recipes import Recipe
from r2d.reporting.figures import with_values
from r2d.reporting.tables import heading
from r2d.reporting.theme import (
    GREY,
    colour,
    dots,
    finish,
    legend_below,
    literal,
    panels,
    titles,
)

SOURCES = {
    "rationale_llm": "LLM-style",
    "rationale_nurse": "nurse",
    "rationale_nurse_post": "post-processed",
    "": "none",
}


def sources(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 2: labels and true reasons after each pair of rationale sources, stage 1 / stage 2."""
    rows = frame[frame["dataset"] == dataset].fillna({"stage1_source": "", "stage2_source": ""})
    measures = with_values(rows, "macro_f1", "names_reason", "sufficiency")
    methods = list(dict.fromkeys(rows["method"]))
    figure, axes = panels(1, len(measures), height=0.34 * len(methods) + 1.3, sharey=True)
    for axis, measure in zip(axes, measures, strict=True):
        for place, method in enumerate(methods):
            dots(axis, rows[rows["method"] == method], measure, place, colour(method))
        axis.set(xlabel=literal(heading(measure, recipe)), xlim=(-0.03, 1.03))
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.grid(axis="x", alpha=0.3)
    pairs = rows.drop_duplicates("method")[["stage1_source", "stage2_source"]]
    names = [
        literal(" / ".join(SOURCES.get(source, source) for source in pair))
        for pair in pairs.itertuples(index=False)
    ]
    axes[0].set_yticks(range(len(methods)), names)
    axes[0].set_ylabel("Rationales of\nstage 1 / stage 2")
    return finish(figure, f"Which rationales to learn from, {dataset}", recipe)


def ablations(frame: pd.DataFrame, tests: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 3: macro-F1 of every variant, and its accuracy minus the reference's, paired."""
    rows = frame[frame["dataset"] == dataset]
    methods = list(dict.fromkeys(rows["method"]))
    figure, (left, right) = panels(1, 2, height=0.32 * len(methods) + 1.3, sharey=True)
    for place, method in enumerate(methods):
        dots(left, rows[rows["method"] == method], "macro_f1", place, colour(method))
    reference = rows.loc[rows["method"] == recipe.reference, "macro_f1"].mean()
    left.axvline(reference, color=GREY, ls="--", lw=1, zorder=0)
    left.set(xlabel="Macro-F1")
    if len(tests):
        _differences(right, tests[tests["dataset"] == dataset], methods)
    right.axvline(0, color=GREY, ls="--", lw=1, zorder=0)
    title = recipe.methods[recipe.reference].title
    right.set(xlabel=literal(f"Accuracy minus that of {title}, points"))
    for axis in (left, right):
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.grid(axis="x", alpha=0.3)
    left.set_yticks(range(len(methods)), titles(recipe, methods))
    return finish(figure, f"What each part is worth, {dataset}", recipe)


def _differences(axis: Axes, tests: pd.DataFrame, methods: list[str]) -> None:
    """Each variant minus the reference, in points: the tests have it the other way round."""
    for _, row in tests.iterrows():
        place = methods.index(row["against"])
        shade = colour(row["against"])
        low, high = sorted((-row["low"], -row["high"]))
        axis.plot([100 * low, 100 * high], [place, place], color=shade, lw=1.4)
        axis.plot(-100 * row["difference"], place, "o", color=shade, ms=5)


def exposure(table: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 6: rationale scores given the model's own label and the gold one, by decision."""
    rows = table[table["dataset"] == dataset]
    present = set(rows["measure"])
    measures = [name for name in ("bertscore_f1", "names_reason") if name in present]
    methods = list(dict.fromkeys(rows["method"]))
    columns = [(measure, decision) for measure in measures for decision in ("right", "wrong")]
    figure, axes = panels(1, len(columns), height=0.42 * len(methods) + 1.8, sharey=True)
    for axis, (measure, decision) in zip(axes, columns, strict=True):
        scores = rows[rows["measure"] == measure]
        _by_label(axis, scores[scores["decision"] == decision], methods)
        counts = scores[scores["decision"] == decision].groupby("method")["n"].sum()
        axis.set_title(f"Decided {decision}\n(n = {counts.min()}–{counts.max()})")
        axis.set(xlabel=literal(heading(measure, recipe)), ylim=(len(methods) - 0.5, -0.5))
        axis.grid(axis="x", alpha=0.3)
        lowest = scores.reindex(columns=["own_low", "gold_low"]).min().min()
        whole = measure == "names_reason"  # BERTScores lie close together, near 1
        axis.set_xlim(*((-0.03, 1.03) if whole else (lowest - 0.01, 1.003)))
    axes[0].set_yticks(range(len(methods)), titles(recipe, methods))
    marks = [
        axes[0].plot([], [], "o", color="#444444", mfc=fill, ms=5)[0]
        for fill in ("#444444", "white")
    ]
    legend_below(figure, marks, ["own label in the prompt", "gold label in the prompt"])
    title = f"Exposure bias: rationales given the model's own label or the gold one, {dataset}"
    return finish(figure, title, recipe)


def _by_label(axis: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    """Each run's score given its own label (filled, above) and given the gold one (hollow)."""
    for place, method in enumerate(methods):
        shade = colour(method)
        for _, row in rows[rows["method"] == method].iterrows():
            for name, y, fill in (("own", place - 0.14, shade), ("gold", place + 0.14, "white")):
                if pd.isna(row.get(name)):
                    continue
                if pd.notna(row[f"{name}_low"]):
                    ends = [row[f"{name}_low"], row[f"{name}_high"]]
                    axis.plot(ends, [y, y], color=shade, lw=1.2)
                axis.plot(row[name], y, "o", color=shade, mfc=fill, ms=5)
