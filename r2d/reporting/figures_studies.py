"""Figures of the studies: rationale sources (2), ablations (3) and exposure bias (6)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from r2d.recipes import Recipe
from r2d.reporting import comparisons
from r2d.reporting.figures import draw_differences, levels_and_differences, with_values
from r2d.reporting.studies import SOURCES
from r2d.reporting.tables import INFLATED, MEASURES, heading
from r2d.reporting.theme import (
    GREY,
    bar,
    colour,
    dots,
    finish,
    legend_below,
    literal,
    marker,
    panels,
    titles,
)


def sources(frame: pd.DataFrame, tests: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 2: labels and true reasons after each pair of rationale sources, stage 1 / stage 2.

    `tests` are those of the reference against the other pairs.
    """
    rows = frame[frame["dataset"] == dataset].fillna({"stage1_source": "", "stage2_source": ""})
    explained = with_values(rows, "names_reason")
    methods = list(dict.fromkeys(rows["method"]))
    height = 0.34 * len(methods) + 1.5
    figure, axes = panels(1, 2 + len(explained), height, sharey=True)
    levels_and_differences(axes, rows, tests, recipe, methods)
    for axis, measure in zip(axes[2:], explained, strict=True):
        for place, method in enumerate(methods):
            dots(axis, rows[rows["method"] == method], measure, place, method)
        axis.set(xlabel=literal(heading(measure, recipe)))
        axis.grid(axis="x", alpha=0.3)
    pairs = rows.drop_duplicates("method")[["stage1_source", "stage2_source"]]
    names = [
        literal(" / ".join(SOURCES.get(source, source) for source in pair))
        for pair in pairs.itertuples(index=False)
    ]
    axes[0].set_yticks(range(len(methods)), names)
    axes[0].set_ylabel("Rationales of\nstage 1 / stage 2")
    title = comparisons.verdict(recipe, tests, dataset, also=explained)
    return finish(figure, title or f"Which rationales to learn from, {dataset}", recipe, dataset)


def ablations(frame: pd.DataFrame, tests: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 3: macro-F1 of every variant, and the reference's minus theirs, corrected intervals.

    Where tests have it, also the reference minus every variant in following a forced label. The
    title says of all measures what was told apart.
    """
    rows = frame[frame["dataset"] == dataset]
    methods = list(dict.fromkeys(rows["method"]))
    forced = tests
    if len(tests):
        forced = tests[(tests["dataset"] == dataset) & (tests["measure"] == "follows_label")]
    count = 3 if len(forced) else 2
    figure, axes = panels(1, count, height=0.32 * len(methods) + 1.6, sharey=True)
    levels_and_differences(axes, rows, tests, recipe, methods)
    if len(forced):
        draw_differences(axes[2], forced, recipe, methods, "follows_label")
    title = comparisons.verdict(recipe, tests, dataset, also=comparisons.RATIONALES)
    return finish(figure, title or f"What each part is worth, {dataset}", recipe, dataset)


def exposure(
    scores: pd.DataFrame,
    support: pd.DataFrame,
    differences: pd.DataFrame,
    recipe: Recipe,
    dataset: str,
) -> Figure:
    """Figure 6: do rationales listen to the label, and what does a wrong one cost them?

    The tables are those of `exposure`, and `exposure_gaps.differences` for the title. Where the
    decision was right both prompts are the same, so agreement and quality are shown of wrong
    decisions. Intervals are of methods' means, seeds and cases random; there is none where the
    tables have none.
    """
    scores, support, differences = (
        table[table["dataset"] == dataset] if len(table) else table
        for table in (scores, support, differences)
    )
    methods = list(dict.fromkeys(scores["method"]))
    wrong = scores[scores["decision"] == "wrong"]
    quality = "names_reason" if "names_reason" in set(wrong["measure"]) else "bertscore_f1"
    shown = [name for name in ("agreement", quality) if name in set(wrong["measure"])]
    forced = bool(len(support)) and support["follows_label"].notna().any()
    count = len(shown) + forced
    figure, axes = panels(1, count, height=0.42 * len(methods) + 1.9, sharey=True)
    for axis, measure in zip(axes, shown, strict=False):
        _by_label(axis, wrong[wrong["measure"] == measure], methods)
        counts = wrong.groupby("method")["n"].mean()
        axis.set_title(f"Decided wrong ({counts.min():.0f}–{counts.max():.0f} a run)")
        axis.set_xlabel(literal(heading(measure, recipe)))
    if forced:
        _forced(axes[-1], support, methods)
    for axis in axes:
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.grid(axis="x", alpha=0.3)
        axis.margins(x=0.08)
        axis.locator_params(axis="x", nbins=4)
    axes[0].set_yticks(range(len(methods)), titles(recipe, methods))
    marks = [
        axes[0].plot([], [], "o", color="#444444", mfc=fill, ms=5)[0]
        for fill in ("#444444", "white")
    ]
    legend_below(figure, marks, ["own label in the prompt", "gold label in the prompt"])
    return finish(figure, _gaps(recipe, differences, dataset), recipe, dataset)


def _gaps(recipe: Recipe, differences: pd.DataFrame, dataset: str) -> str:
    """What the tests of the reference's gap and the others' found, in words, for the title.

    Nothing is said of a gap of degenerate rationales.
    """
    rows = differences[differences["measure"] == "gap"] if len(differences) else differences
    rows = rows[rows["degenerate"] < INFLATED] if len(rows) else rows
    if rows.empty:
        return f"What a wrong label costs rationales on {dataset}: no two methods' gaps to compare"
    first = rows.iloc[0]
    ours, name = recipe.methods[first["method"]].title, MEASURES[first["quality"]]
    if (rows["runs"] < 2).all():
        return f"{name} on {dataset}, own and gold label, one run each: models, not methods"
    clear = comparisons.are_clear(rows)
    nearer = rows["ours"].abs() < rows["theirs"].abs()
    parts = []
    for words, chosen in (
        ("nearer zero than", clear & nearer),
        ("further from zero than", clear & ~nearer),
        ("not told apart from", ~clear),
    ):
        each = [
            f"{recipe.methods[row['against']].title} ({100 * row['theirs']:+.0f})"
            for _, row in rows[chosen].iterrows()
        ]
        parts += [f"{words} {', '.join(each)}"] if each else []
    return (
        f"Told its own wrong label, not gold, {ours} changes '{name}' by "
        f"{100 * first['ours']:+.0f} points: {'; '.join(parts)}"
    )


def _forced(axis: Axes, support: pd.DataFrame, methods: list[str]) -> None:
    """The forced-label probe by method; the dashed line is what a deaf rationale can reach."""
    for place, method in enumerate(methods):
        rows = support[support["method"] == method]
        if rows["follows_label"].notna().any():
            dots(axis, rows, "follows_label", place, method)
    axis.axvline(support["follows_label_chance"].mean(), color=GREY, ls="--", lw=1, zorder=0)
    axis.set(title="Told each label", xlabel="Follows a forced label")


def _by_label(axis: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    """Scores given the own label (filled, above) and the gold one (hollow), seeds as small dots."""
    for place, method in enumerate(methods):
        own = rows[rows["method"] == method]
        for name, y, fill in (("own", place - 0.17, None), ("gold", place + 0.17, "white")):
            known = own[own[name].notna()] if name in own else own.iloc[:0]
            if known.empty:
                continue
            shade = colour(method)
            bar(axis, known, name, y, color=shade, lw=1.4)
            axis.plot(known[name].mean(), y, marker(method), color=shade, mfc=fill or shade, ms=5)
            if len(known) > 1:
                seeds = {"color": shade, "ms": 2.2, "alpha": 0.8, "ls": ""}
                axis.plot(known[name], [y + 0.11] * len(known), "o", **seeds)
