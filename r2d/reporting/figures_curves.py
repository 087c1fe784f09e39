"""Figure 8: learning curves, what rationales and sampling change, notes saved, caps of p(t) (E9).

The tables are those of `learning_curves`; every title is in words that come from its tests.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from r2d.evaluation import stats
from r2d.recipes import Recipe
from r2d.reporting import learning_curves
from r2d.reporting.tables import MEASURES
from r2d.reporting.theme import (
    BLUE,
    GREEN,
    GREY,
    PINK,
    VERMILION,
    colour,
    finish,
    legend_below,
    literal,
    panels,
    titles,
)

# Variants of Reason2Decide, which are one family elsewhere, are curves beside each other here.
VARIANTS = {"no stage 1": PINK, "r2d-no-sampling": VERMILION}
MARKERS = "oDsv^PX"
NOISES = (("o", BLUE), ("s", VERMILION), ("^", GREEN))  # by noise level, from the smallest
PANELS = 3  # of figure 8b, each a question


def curves(runs: pd.DataFrame, found: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 8a: macro-F1 by training notes, a panel a noise level, 95 % bands over seeds."""
    runs = runs[runs["dataset"] == dataset]
    methods = [name for name, part in runs.groupby("method", sort=False) if _has_curve(part)]
    noises = sorted(runs["noise"].unique())
    figure, axes = panels(1, len(noises), height=3.7, sharey=True)
    for axis, noise in zip(axes, noises, strict=True):
        part = runs[runs["noise"] == noise]
        for marker, method in zip(_markers(methods), methods, strict=True):
            _curve(axis, part[part["method"] == method], _shade(recipe, method, methods), marker)
        _by_size(axis, part["notes"])
        axis.set_title(_noise(noise))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set(ylabel="Macro-F1", ylim=(None, min(1, axes[0].get_ylim()[1])))  # bands go beyond
    legend_below(figure, axes[0].get_lines(), titles(recipe, methods))
    outcome = _outcome(recipe, learning_curves.family(found, dataset, "rationales"))
    return finish(figure, f"Macro-F1 by training notes: {outcome}", recipe, dataset)


def _has_curve(rows: pd.DataFrame) -> bool:
    return rows["notes"].nunique() > 1


def _markers(methods: Sequence[str]) -> list[str]:
    return [MARKERS[place % len(MARKERS)] for place in range(len(methods))]


def _shade(recipe: Recipe, method: str, methods: Sequence[str]) -> str:
    """A method's colour; a variant of Reason2Decide has one of its own."""
    found = {name: role for role, name in learning_curves.roles(recipe, methods).items()}
    return VARIANTS.get(found.get(method, ""), colour(method))


def _curve(axis: Axes, rows: pd.DataFrame, shade: str, marker: str) -> None:
    """Means over seeds, and the 95 % t interval around them where there are several."""
    sizes, means, lows, highs = [], [], [], []
    for size, part in rows.sort_values("notes").groupby("notes"):
        seeds = stats.over_seeds(part["macro_f1"].tolist())
        sizes.append(size)
        means.append(seeds["mean"])
        low, high = seeds["interval"] or [seeds["mean"]] * 2
        lows.append(low)
        highs.append(high)
    axis.plot(sizes, means, color=shade, marker=marker, ms=4, lw=1.5)
    axis.fill_between(sizes, lows, highs, color=shade, alpha=0.13, lw=0)


def _by_size(axis: Axes, notes: pd.Series) -> None:
    """A logarithmic axis that names the sizes that were tried."""
    sizes = sorted(notes.unique())
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], rotation=45)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set(xlim=(sizes[0] / 1.25, sizes[-1] * 1.25), xlabel="Training notes (log)")


def _noise(noise: float) -> str:
    return f"{noise:.0%} of labels wrong" if noise else "No label noise"


def _outcome(recipe: Recipe, rows: pd.DataFrame) -> str:
    """How often a pair was told apart, for a title."""
    if rows.empty:
        return "nothing to compare"
    ours, theirs = _pair(recipe, rows)
    if rows["runs"].min() < 2:
        return f"{ours} and {theirs}, one run each"
    up, down = learning_curves.told_apart(rows)
    if not len(up) and not len(down):
        return f"{ours} nowhere told apart from {theirs}"
    return (
        f"in {len(up)} of {len(rows)} sizes and noise levels {ours} is above {theirs}, in "
        f"{len(down)} below"
    )


def _pair(recipe: Recipe, rows: pd.DataFrame) -> tuple[str, str]:
    """The titles of the two methods that these tests compare."""
    first = rows.iloc[0]
    return recipe.methods[first["method"]].title, recipe.methods[first["against"]].title


def gains(found: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 8b: differences in macro-F1 by training notes, a panel a question."""
    found = found[found["dataset"] == dataset]
    families = {}
    for question in list(dict.fromkeys(found["question"]))[:PANELS]:
        families[question] = learning_curves.family(found, dataset, question)
    noises = sorted(found["noise"].unique())
    figure, axes = panels(1, len(families), height=3.4, sharey=True)
    for axis, (question, rows) in zip(axes, families.items(), strict=True):
        for place, noise in enumerate(noises):
            part = rows[rows["noise"] == noise].sort_values("notes")
            shift = 1.06 ** (2 * place - len(noises) + 1)  # beside each other
            _differences(axis, part, part["notes"] * shift, *NOISES[place % len(NOISES)])
        axis.axhline(0, color=GREY, ls="--", lw=1, zorder=0)
        _by_size(axis, rows["notes"])
        ours, theirs = _pair(recipe, rows)
        axis.set_title(literal(f"{question.capitalize()}\n{ours} minus {theirs}"))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("Macro-F1, difference in points")
    styles = [NOISES[place % len(NOISES)] for place in range(len(noises))]
    marks = [axes[0].plot([], [], marker, color=shade, ms=5)[0] for marker, shade in styles]
    legend_below(figure, marks, [_noise(noise) for noise in noises])
    sampling = learning_curves.family(found, dataset, "sampling")
    rows = sampling if len(sampling) else next(iter(families.values()))
    return finish(figure, f"What each part changes: {_outcome(recipe, rows)}", recipe, dataset)


def _differences(
    axis: Axes, rows: pd.DataFrame, places: pd.Series, marker: str, shade: str
) -> None:
    """Differences in points with their corrected intervals."""
    axis.vlines(places, 100 * rows["low"], 100 * rows["high"], color=shade, lw=1.3)
    axis.plot(places, 100 * rows["difference"], marker, color=shade, ms=5)


def saved(savings: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 8c: the notes that each method needs for SFT's macro-F1, a panel a noise level.

    On the dashed line they are as many as SFT has; below it a method saves notes.
    """
    rows = savings[savings["dataset"] == dataset].sort_values("noise", kind="stable")
    methods = list(dict.fromkeys(rows["method"]))
    noises = list(dict.fromkeys(rows["noise"]))
    sizes = sorted({*rows["smallest"], *rows["sft_notes"]})
    never = sizes[-1] * 1.5  # where those stand that do not get there
    figure, axes = panels(1, len(noises), height=3.7, sharey=True)
    for axis, noise in zip(axes, noises, strict=True):
        axis.plot(sizes, sizes, color=GREY, ls="--", lw=1, zorder=0)
        part = rows[rows["noise"] == noise]
        for place, marker in enumerate(_markers(methods)):
            shift = 1.04 ** (place - (len(methods) - 1) / 2)  # beside each other
            needs = part[part["method"] == methods[place]]
            _needs(axis, needs, shift, never, _shade(recipe, methods[place], methods), marker)
        _by_size(axis, pd.Series(sizes))
        axis.set(xlabel="SFT's training notes (log)", title=_noise(noise), yscale="log")
        axis.yaxis.set_minor_locator(NullLocator())
        axis.grid(axis="y", alpha=0.3)
    names = [f"{size:,.0f}" for size in sizes]
    axes[0].set_yticks([*sizes, never], [*names, "not reached"])
    axes[0].set(ylabel="Notes needed (log)", ylim=(sizes[0] / 1.25, never * 1.25))
    shades = [_shade(recipe, method, methods) for method in methods]
    marks = [
        axes[0].plot([], [], marker, color=shade, ms=4)[0]
        for marker, shade in zip(_markers(methods), shades, strict=True)
    ]
    legend_below(figure, marks, titles(recipe, methods))
    return finish(figure, _saving(rows, recipe), recipe, dataset)


def _needs(
    axis: Axes, rows: pd.DataFrame, shift: float, never: float, shade: str, marker: str
) -> None:
    """One method's notes with their intervals; hollow, and at `never`, where it falls short."""
    for _, row in rows.iterrows():
        place = row["sft_notes"] * shift
        reached = pd.notna(row["needed"])
        if reached and row["seeds"] > 1:
            ends = [never if pd.isna(end) else end for end in (row["low"], row["high"])]
            axis.plot([place, place], ends, color=shade, lw=1.3)
        height, fill = (row["needed"], shade) if reached else (never, "white")
        axis.plot(place, height, marker, color=shade, mfc=fill, ms=5)


def _saving(rows: pd.DataFrame, recipe: Recipe) -> str:
    """The reference's row at the smallest noise and the largest size it reaches, for a title."""
    chosen = rows[rows["method"] == recipe.reference]
    reached = chosen.dropna(subset=["needed"])
    if chosen.empty:
        return "Notes needed for SFT's macro-F1"
    title = chosen["title"].iloc[0]
    if reached.empty:
        return f"Notes needed for SFT's macro-F1: {title} reaches it at no size"
    first = reached[reached["noise"] == reached["noise"].min()]
    row = first.loc[first["sft_notes"].idxmax()]
    needs = learning_curves.needs(row)
    return f"SFT's macro-F1 with {row['sft_notes']:,.0f} notes takes {title} {needs}"


def caps(scores: pd.DataFrame, found: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 8d: by the cap of p(t), the exposure gap, and whether rationales keep listening."""
    rows = scores[scores["dataset"] == dataset]
    found = found[found["dataset"] == dataset]
    figure, axes = panels(1, 3, height=3.1)
    shown = (
        ("gap", "Gap, own minus gold label:\nnames the true reason", None),
        ("agreement_wrong", f"{MEASURES['agreement']},\ndecided wrong", "agreement_wrong_chance"),
        ("follows_label", f"{MEASURES['follows_label']}\n", "follows_label_chance"),
    )
    for axis, (measure, title, chance) in zip(axes, shown, strict=True):
        _over_caps(axis, rows, measure)
        level = rows[chance].mean() if chance in rows else 0.0
        axis.axhline(level, color=GREY, ls="--", lw=1, zorder=0)
        known = sorted(rows["cap"].unique())
        axis.set_xticks(known, [f"{cap:g}" for cap in known])
        axis.set_xlabel("Cap of p(t)")
        axis.set_title(title)
        axis.grid(axis="y", alpha=0.3)
        if measure != "gap":
            axis.set_ylim(-0.03, 1.03)
    return finish(figure, f"Exposure gap: {learning_curves.verdict(found)}", recipe, dataset)


def _over_caps(axis: Axes, rows: pd.DataFrame, measure: str) -> None:
    """Each run as a dot, the means over seeds as a line."""
    known = rows.dropna(subset=[measure]) if measure in rows else rows.iloc[:0]
    axis.plot(known["cap"], known[measure], "o", color=GREEN, ms=3, alpha=0.5)
    means = known.groupby("cap")[measure].mean() if len(known) else pd.Series(dtype=float)
    axis.plot(means.index, means, color=GREEN, marker="D", ms=5)
