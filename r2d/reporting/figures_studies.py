"""Figures of the studies: rationale sources (2), ablations (3) and exposure bias (6)."""

import pandas as pd
from matplotlib.figure import Figure

from r2d.recipes import Recipe
from r2d.reporting.figures import _dots, _finish, _panels, colour, legend_below
from r2d.reporting.results import heading

SOURCES = {
    "rationale_llm": "LLM-style",
    "rationale_nurse": "nurse",
    "rationale_nurse_post": "post-processed",
    "": "none",
}


def sources(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 2: labels and true reasons after learning from each pair of rationale sources (stage 1 / stage 2)."""
    rows = frame[frame["dataset"] == dataset].fillna({"stage1_source": "", "stage2_source": ""})
    shown = [
        m
        for m in ("macro_f1", "names_reason", "sufficiency")
        if m in rows and rows[m].notna().any()
    ]
    methods = list(dict.fromkeys(rows["method"]))
    figure, axes = _panels(1, len(shown), height=0.34 * len(methods) + 1.3, sharey=True)
    for axis, measure in zip(axes, shown, strict=True):
        for place, method in enumerate(methods):
            _dots(axis, rows[rows["method"] == method], measure, place, colour(method))
        axis.set(
            xlabel=heading(measure, recipe), ylim=(len(methods) - 0.5, -0.5), xlim=(-0.03, 1.03)
        )
        axis.grid(axis="x", alpha=0.3)
    first = rows.drop_duplicates("method").set_index("method")
    pairs = zip(first["stage1_source"], first["stage2_source"], strict=True)
    named = [" / ".join(SOURCES.get(source, source) for source in pair) for pair in pairs]
    axes[0].set_yticks(range(len(methods)), named)
    axes[0].set_ylabel("Rationales of\nstage 1 / stage 2")
    return _finish(figure, f"Which rationales to learn from, {dataset}", recipe)


def ablations(frame: pd.DataFrame, tests: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 3: macro-F1 of every variant, and its accuracy minus the reference's with the paired interval."""
    rows = frame[frame["dataset"] == dataset]
    methods = list(dict.fromkeys(rows["method"]))
    figure, (left, right) = _panels(1, 2, height=0.32 * len(methods) + 1.3, sharey=True)
    for place, method in enumerate(methods):
        _dots(left, rows[rows["method"] == method], "macro_f1", place, colour(method))
    left.axvline(
        rows.loc[rows["method"] == recipe.reference, "macro_f1"].mean(),
        color="#777777",
        ls="--",
        lw=1,
        zorder=0,
    )
    left.set(xlabel="Macro-F1", ylim=(len(methods) - 0.5, -0.5))
    for _, row in tests[tests["dataset"] == dataset].iterrows() if len(tests) else ():
        place, (low, high) = methods.index(row["against"]), sorted((-row["low"], -row["high"]))
        right.plot([100 * low, 100 * high], [place, place], color=colour(row["against"]), lw=1.4)
        right.plot(-100 * row["difference"], place, "o", color=colour(row["against"]), ms=5)
    right.axvline(0, color="#777777", ls="--", lw=1, zorder=0)
    reference = recipe.methods[recipe.reference].title
    right.set(xlabel=f"Accuracy minus that of {reference}, points", ylim=(len(methods) - 0.5, -0.5))
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.3)
    left.set_yticks(range(len(methods)), [recipe.methods[m].title for m in methods])
    return _finish(figure, f"What each part is worth, {dataset}", recipe)


def exposure(table: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 6: rationale scores given the model's own label (filled) and the gold one (hollow), right and wrong decisions."""
    rows = table[table["dataset"] == dataset]
    measures = [m for m in ("bertscore_f1", "names_reason") if m in set(rows["measure"])]
    methods = list(dict.fromkeys(rows["method"]))
    columns = [(m, kind) for m in measures for kind in ("right", "wrong")]
    figure, axes = _panels(1, len(columns), height=0.42 * len(methods) + 1.8, sharey=True)
    for axis, (measure, kind) in zip(axes, columns, strict=True):
        part = rows[(rows["measure"] == measure) & (rows["decision"] == kind)]
        for place, method in enumerate(methods):
            for _, row in part[part["method"] == method].iterrows():
                _pair(axis, row, place, colour(method))
        counts = part.groupby("method")["n"].sum()
        axis.set(xlabel=heading(measure, recipe), ylim=(len(methods) - 0.5, -0.5))
        axis.set_title(f"Decided {kind}\n(n = {counts.min()}–{counts.max()})")
        axis.grid(axis="x", alpha=0.3)
        ends = rows[rows["measure"] == measure].reindex(columns=["own_low", "gold_low"])
        axis.set_xlim(
            *((-0.03, 1.03) if measure == "names_reason" else (ends.min().min() - 0.01, 1.003))
        )
    axes[0].set_yticks(range(len(methods)), [recipe.methods[m].title for m in methods])
    marks = [
        axes[0].plot([], [], "o", color="#444444", mfc=fill, ms=5)[0]
        for fill in ("#444444", "white")
    ]
    legend_below(figure, marks, ["own label in the prompt", "gold label in the prompt"])
    return _finish(
        figure,
        f"Exposure bias: rationales given the model's own label or the gold one, {dataset}",
        recipe,
    )


def _pair(axis, row: pd.Series, place: float, shade: str) -> None:
    """Own and gold score of one run with their intervals, own above gold."""
    for name, shift, fill in (("own", -0.14, shade), ("gold", 0.14, "white")):
        if pd.notna(row.get(name)):
            if pd.notna(row[f"{name}_low"]):
                axis.plot(
                    [row[f"{name}_low"], row[f"{name}_high"]],
                    [place + shift] * 2,
                    color=shade,
                    lw=1.2,
                )
            axis.plot(row[name], place + shift, "o", color=shade, mfc=fill, ms=5)
