"""Figure 8: learning curves, what rationales and sampling change, notes saved, caps of p(t) (E9).

The tables are those of `learning_curves` and `savings`; every title is in words that come from
their tests. A method has one marker and colour in all four figures.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from r2d.recipes import Recipe
from r2d.reporting import curves_in_words, learning_curves
from r2d.reporting.tables import MEASURES
from r2d.reporting.theme import (
    GREY,
    colour,
    finish,
    legend_below,
    literal,
    marker,
    panels,
    titles,
)

FILLS = ({}, {"mfc": "white"}, {"fillstyle": "left", "markerfacecoloralt": "white"})  # by noise
PANELS = 3  # of figure 8b, each a question
APART = 1.07  # the factor between methods that stand beside each other on a logarithmic axis
BAR = 1.1  # an interval's line width


def curves(runs: pd.DataFrame, found: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 8a: macro-F1 by training notes, a panel a noise level, with the methods' intervals.

    The intervals are those of `collect.runs`, seeds and test cases random.
    """
    runs = runs[runs["dataset"] == dataset]
    by_method = runs.groupby("method", sort=False)
    methods = [name for name, part in by_method if _has_curve(part)] or list(by_method.groups)
    runs = runs[runs["method"].isin(methods)]
    noises = sorted(runs["noise"].unique())
    sizes = [runs.loc[runs["noise"] == noise, "notes"].nunique() for noise in noises]
    widths = [max(size, max(sizes) / 2) for size in sizes]
    figure, axes = panels(1, len(noises), height=3.9, sharey=True, width_ratios=widths)
    for axis, noise in zip(axes, noises, strict=True):
        part = runs[runs["noise"] == noise]
        for shift, method in zip(_beside(len(methods)), methods, strict=True):
            _curve(axis, part[part["method"] == method], shift, _style(method))
        _by_size(axis, part["notes"], len(methods))
        axis.set_title(_noise(noise))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("Macro-F1")
    legend_below(figure, _marks(methods, "-"), titles(recipe, methods))
    outcome = _outcome(recipe, learning_curves.family(found, dataset, "rationales"))
    return finish(figure, f"Macro-F1 by training notes: {outcome}", recipe, dataset)


def _has_curve(rows: pd.DataFrame) -> bool:
    return rows["notes"].nunique() > 1


def _style(method: str) -> dict[str, str]:
    """A method's colour and mark."""
    return {"color": colour(method), "marker": marker(method)}


def _marks(methods: Sequence[str], line: str = "") -> list[Line2D]:
    """The methods' marks for a legend."""
    return [Line2D([], [], ls=line, ms=4.5, lw=1.3, **_style(method)) for method in methods]


def _beside(number: int, steps: int = 1) -> np.ndarray:
    """By what to shift so many marks at one size for all to be seen, on a logarithmic axis."""
    return APART ** (steps * (np.arange(number) - (number - 1) / 2))


def _curve(axis: Axes, rows: pd.DataFrame, shift: float, style: dict[str, str]) -> None:
    """Means over seeds, each with its method's interval where the table has it."""
    rows = rows.sort_values("notes")
    means = rows.groupby("notes")["macro_f1"].mean()
    places = means.index.to_numpy() * shift
    axis.plot(places, means, ms=4.5, lw=1.3, **style)
    ends = [f"macro_f1_method_{end}" for end in learning_curves.ENDS]
    if set(ends) <= set(rows):
        low, high = (rows.groupby("notes")[end].first() for end in ends)
        axis.vlines(places, low, high, color=style["color"], lw=BAR, alpha=0.75)


def _by_size(axis: Axes, notes: pd.Series, beside: int = 1) -> None:
    """A logarithmic axis that names the sizes that were tried, with room for marks on its ends."""
    sizes = sorted(notes.unique())
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    margin = 1.12 * APART ** (beside / 2)
    axis.set(xlim=(sizes[0] / margin, sizes[-1] * margin), xlabel="Training notes (log)")
    if len(sizes) > 4:
        axis.tick_params(axis="x", rotation=45)


def _noise(noise: float) -> str:
    return f"{noise:.0%} of labels wrong" if noise else "No label noise"


def _outcome(recipe: Recipe, rows: pd.DataFrame) -> str:
    """How often a pair was told apart, for a title."""
    if rows.empty:
        return "nothing to compare"
    ours, theirs = curves_in_words.compared(recipe, rows)
    several = rows[rows["runs"] > 1]
    if several.empty:
        return f"{ours} and {theirs}, one run each"
    up, down = learning_curves.told_apart(several)
    if not len(up) and not len(down):
        return f"{ours} nowhere told apart from {theirs}"
    directions = curves_in_words.directions(up, down, theirs)
    return f"{ours} is {directions} of {curves_in_words.places(several)}"


def gains(found: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 8b: differences in macro-F1 by training notes, a panel a question."""
    found = found[found["dataset"] == dataset]
    families = {}
    for question in list(dict.fromkeys(found["question"]))[:PANELS]:
        families[question] = learning_curves.family(found, dataset, question)
    noises = sorted(found["noise"].unique())
    figure, axes = panels(1, len(families), height=3.3, sharey=True)
    for axis, (question, rows) in zip(axes, families.items(), strict=True):
        for place, (noise, shift) in enumerate(zip(noises, _beside(len(noises), 3), strict=True)):
            part = rows[rows["noise"] == noise].sort_values("notes")
            _differences(axis, part, part["notes"] * shift, recipe, _fill(place))
        axis.axhline(0, color=GREY, ls="--", lw=1, zorder=0)
        _by_size(axis, rows["notes"], 3 * len(noises))
        ours, theirs = curves_in_words.compared(recipe, rows)
        axis.set_title(literal(f"{question.capitalize()}\n{ours} minus {theirs}"))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("Macro-F1, difference in points")
    style = {"color": GREY, "marker": "o", "ls": "", "ms": 5}
    marks = [Line2D([], [], **style, **_fill(place)) for place in range(len(noises))]
    legend_below(figure, marks, [_noise(noise) for noise in noises])
    title = f"What each part changes in macro-F1: {_changes(families)}"
    return finish(figure, title, recipe, dataset)


def _fill(place: int) -> dict[str, str]:
    """How the marks of a noise level are filled, by its place from the smallest."""
    return FILLS[place % len(FILLS)]


def _changes(families: dict[str, pd.DataFrame]) -> str:
    """What the tests of all panels told apart, for a title."""
    told, nothing, single = [], [], []
    for question, rows in families.items():
        several = rows[rows["runs"] > 1]
        up, down = learning_curves.told_apart(several)
        if several.empty:
            single.append(question)
        elif len(up) or len(down):
            directions = curves_in_words.directions(up, down, "zero")
            told.append(f"{question} {directions} of {curves_in_words.places(several)}")
        else:
            nothing.append(question)
    if nothing:
        told.append(f"nothing told apart for {curves_in_words.listed(nothing)}")
    if single:
        told.append(f"one run each for {curves_in_words.listed(single)}")
    return "; ".join(told)


def _differences(
    axis: Axes, rows: pd.DataFrame, places: pd.Series, recipe: Recipe, fill: dict[str, str]
) -> None:
    """Differences in points with their corrected intervals, as the mark of the other method."""
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        other = row["against"] if row["method"] == recipe.reference else row["method"]
        style = _style(other)
        axis.vlines(place, 100 * row["low"], 100 * row["high"], color=style["color"], lw=BAR)
        axis.plot(place, 100 * row["difference"], ms=5.5, **style, **fill)


def saved(needed: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 8c: the notes that each method needs for SFT's macro-F1, a panel a noise level.

    On a dashed line they are as many as SFT has; an interval that crosses it tells nothing.
    """
    rows = needed[needed["dataset"] == dataset].sort_values("noise", kind="stable")
    methods = list(dict.fromkeys(rows["method"]))
    noises = list(dict.fromkeys(rows["noise"]))
    sizes = sorted({*rows["smallest"], *rows["sft_notes"]})
    never = sizes[-1] * 1.6  # where those stand that do not get there
    sft = recipe.methods[rows["against"].iloc[0]].title
    figure, axes = panels(1, len(noises), height=3.7, sharey=True)
    for axis, noise in zip(axes, noises, strict=True):
        _needs_by_size(axis, rows[rows["noise"] == noise], methods, never)
        axis.set(title=_noise(noise), yscale="log", xlabel=f"Training notes of {sft}")
        axis.yaxis.set_minor_locator(NullLocator())
        axis.grid(axis="y", alpha=0.3)
    names = [f"{size:,.0f}" for size in sizes]
    axes[0].set_yticks([*sizes, never], [*names, "not reached"])
    axes[0].set(ylabel="Notes needed (log)", ylim=(sizes[0] / 1.2, never * 1.2))
    legend_below(figure, _marks(methods), titles(recipe, methods))
    goal = curves_in_words.score_to_reach(recipe, rows)
    return finish(figure, f"Notes needed for {goal}: {_saving(rows)}", recipe, dataset)


def _saving(rows: pd.DataFrame) -> str:
    """At how many of SFT's sizes which methods are told to need fewer notes, and more: a title."""
    tried = rows.groupby("title").size()

    def counted(told: pd.DataFrame) -> str:
        return f"at {len(told)} of {tried[told['title'].iloc[0]]}"

    return curves_in_words.on_notes(rows, counted)


def _needs_by_size(axis: Axes, rows: pd.DataFrame, methods: Sequence[str], never: float) -> None:
    """The methods beside each other at each of SFT's sizes, which a dashed line repeats."""
    sizes = sorted(rows["sft_notes"].unique())
    step = 0.8 / len(methods)
    for group, size in enumerate(sizes):
        axis.plot([group - 0.45, group + 0.45], [size, size], color=GREY, ls="--", lw=1, zorder=0)
        for place, method in enumerate(methods):
            x = group + step * (place - (len(methods) - 1) / 2)
            chosen = rows[(rows["sft_notes"] == size) & (rows["method"] == method)]
            for _, row in chosen.iterrows():
                _needs(axis, row, x, never, _style(method))
    axis.set_xticks(range(len(sizes)), [f"{size:,.0f}" for size in sizes])
    axis.set(xlim=(-0.55, len(sizes) - 0.45))


def _needs(axis: Axes, row: pd.Series, x: float, never: float, style: dict[str, str]) -> None:
    """One method's notes with their interval; hollow, and at `never`, where it falls short."""
    reached = pd.notna(row["needed"])
    if row["seeds"] > 1 and pd.notna(row["low"]):
        high = never if pd.isna(row["high"]) else row["high"]
        axis.vlines(x, row["low"], high, color=style["color"], lw=BAR)
    height, fill = (row["needed"], style["color"]) if reached else (never, "white")
    axis.plot(x, height, ms=5, mfc=fill, **style)


def caps(scores: pd.DataFrame, found: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 8d: by the cap of p(t), the exposure gap, and whether rationales keep listening.

    The gap's intervals are those of its tests; the others' are `learning_curves.cap_scores`'.
    """
    rows = scores[scores["dataset"] == dataset]
    found = found[found["dataset"] == dataset]
    figure, axes = panels(1, 3, height=3.5)
    shown = (
        ("gap", "Gap, own minus gold label:\nnames the true reason"),
        ("agreement_wrong", f"{MEASURES['agreement']},\ndecided wrong"),
        ("follows_label", f"{MEASURES['follows_label']},\nall labels told in turn"),
    )
    for axis, (measure, title) in zip(axes, shown, strict=True):
        _over_caps(axis, rows, _cap_ends(rows, found, measure), measure, recipe)
        known = sorted(rows["cap"].unique())
        axis.set_xticks(known, [f"{cap:g}" for cap in known])
        axis.set_xlabel("Cap of p(t)")
        chance = rows.get(f"{measure}_chance", pd.Series(dtype=float)).mean()
        axis.set_title(f"{title}\n{_level(axis, measure, chance)}")
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.grid(axis="y", alpha=0.3)
    methods = list(dict.fromkeys(rows["method"]))
    named = [method for method in methods if not _is_variant(recipe, method)]
    marks, names = _marks(named), titles(recipe, named)
    if len(named) < len(methods):
        other = next(method for method in methods if method not in named)
        marks.append(Line2D([], [], ls="", ms=5, mfc="white", **_style(other)))
        names.append(literal(f"{recipe.methods[recipe.reference].title} with another cap"))
    legend_below(figure, marks, names)
    return finish(figure, f"Exposure gap: {curves_in_words.verdict(found)}", recipe, dataset)


def _is_variant(recipe: Recipe, method: str) -> bool:
    return "variant" in learning_curves.roles(recipe, [method])


def _cap_ends(rows: pd.DataFrame, found: pd.DataFrame, measure: str) -> pd.DataFrame:
    """`low` and `high` of a measure by cap, as far as the tables have them."""
    if measure == "gap":
        ends = found[found["measure"] == "gap"].set_index("cap")
        return ends.reindex(columns=learning_curves.ENDS).dropna()
    named = {f"{measure}_method_{end}": end for end in learning_curves.ENDS}
    ends = rows.groupby("cap").first().reindex(columns=list(named))
    return ends.rename(columns=named).dropna()


def _level(axis: Axes, measure: str, chance: float) -> str:
    """Draw zero, or the level by chance where the marks are near it; returns it in words."""
    low, high = axis.get_ylim()
    if measure == "gap":
        axis.axhline(0, color=GREY, ls="--", lw=1, zorder=0)
        axis.axhline(-learning_curves.MARGIN, color=GREY, ls=":", lw=1, zorder=0)
        return "(closed above the dotted line)"
    if pd.isna(chance):
        return ""
    if low <= chance <= high:
        axis.axhline(chance, color=GREY, ls="--", lw=1, zorder=0)
    return f"(by chance {chance:.2f})"


def _over_caps(
    axis: Axes, rows: pd.DataFrame, ends: pd.DataFrame, measure: str, recipe: Recipe
) -> None:
    """Each run as a dot, beside it the mean over seeds with its interval."""
    known = rows.dropna(subset=[measure]) if measure in rows else rows.iloc[:0]
    means = known.groupby("cap")[measure].mean() if len(known) else pd.Series(dtype=float)
    axis.plot(means.index, means, color=GREY, lw=1, zorder=1)
    for (cap, method), part in known.groupby(["cap", "method"]):
        style = _style(method)
        fill = "white" if _is_variant(recipe, method) else style["color"]
        if cap in ends.index:
            axis.vlines(
                cap, *ends.loc[cap, list(learning_curves.ENDS)], color=style["color"], lw=BAR
            )
        axis.plot([cap + 0.025] * len(part), part[measure], ".", color=style["color"], ms=4)
        axis.plot(cap, part[measure].mean(), ms=5, mfc=fill, zorder=3, **style)
