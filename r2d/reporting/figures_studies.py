"""Figures of the studies: rationale sources (2), ablations (3) and exposure bias (6)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from r2d.recipes import Recipe
from r2d.reporting import comparisons
from r2d.reporting.figures import levels_and_differences, with_values
from r2d.reporting.tables import MEASURES, heading
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

SOURCES = {
    "rationale_llm": "LLM-style",
    "rationale_nurse": "nurse",
    "rationale_nurse_post": "post-processed",
    "": "none",
}


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
    title = (
        comparisons.verdict(recipe, tests, dataset) or f"Which rationales to learn from, {dataset}"
    )
    return finish(figure, title, recipe, dataset)


def ablations(frame: pd.DataFrame, tests: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 3: macro-F1 of every variant, and minus the reference's, corrected intervals."""
    rows = frame[frame["dataset"] == dataset]
    methods = list(dict.fromkeys(rows["method"]))
    figure, axes = panels(1, 2, height=0.32 * len(methods) + 1.5, sharey=True)
    levels_and_differences(axes, rows, tests, recipe, methods)
    title = comparisons.verdict(recipe, tests, dataset) or f"What each part is worth, {dataset}"
    return finish(figure, title, recipe, dataset)


def exposure(
    scores: pd.DataFrame, support: pd.DataFrame, gaps: pd.DataFrame, recipe: Recipe, dataset: str
) -> Figure:
    """Figure 6: do rationales listen to the label, and what does a wrong one cost them?

    The tables are what those functions of `exposure` give. Where the decision was right both
    prompts are the same, so agreement and quality are shown of wrong decisions. Intervals are of
    methods' means, seeds and cases random; there is none where the tables have none.
    """
    scores, support, gaps = (
        table[table["dataset"] == dataset] if len(table) else table
        for table in (scores, support, gaps)
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
    return finish(figure, _gap(gaps, quality, dataset), recipe, dataset)


def _gap(gaps: pd.DataFrame, measure: str, dataset: str) -> str:
    """What the tests of own minus gold label found on a measure, in words, for the title."""
    rows = gaps[gaps["measure"] == measure] if len(gaps) else gaps
    name = MEASURES[measure]
    if rows.empty:
        return f"{name} on {dataset}: no gap between own and gold label to test"
    if (rows["runs"] < 2).all():
        return f"{name} on {dataset}, own and gold label, one run each: models, not methods"
    clear = comparisons.are_clear(rows)
    parts = []
    for words, chosen in (("falls", rows["difference"] < 0), ("rises", rows["difference"] > 0)):
        if (clear & chosen).any():
            parts.append(f"'{name}' {words} for {'; '.join(rows.loc[clear & chosen, 'title'])}")
    if not clear.all():
        subject = "Not" if parts else f"the change of '{name}' is not"
        unclear = rows[~clear]
        ends = f"{100 * unclear['low'].min():+.0f} to {100 * unclear['high'].max():+.0f} points"
        named = "; ".join(unclear["title"])
        parts.append(f"{subject} told from zero for {named} ({ends})")
    return f"Told its own wrong label, not gold: {'. '.join(parts)}"


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
