"""Figures of the main comparison (1), of single runs and of training (7)."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from r2d.recipes import Recipe
from r2d.reporting import tables
from r2d.reporting.theme import (
    BLUE,
    GREEN,
    GREY,
    VERMILION,
    colour,
    dots,
    finish,
    legend_below,
    line_style,
    literal,
    panels,
    titles,
    wrap,
)


def main_result(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 1a: macro-F1, BERTScore and reason share of every method, seeds as dots.

    Published macro-F1 of the same dataset stands below, hollow and with its mark.
    """
    rows = frame[frame["dataset"] == dataset]
    measures = with_values(rows, "macro_f1", "bertscore_f1", "names_reason")
    if "macro_f1" not in measures:  # labels are open
        measures.insert(0, "accuracy")
    methods = list(dict.fromkeys(rows["method"]))
    known = tables.published()
    known = known[(known["dataset"] == dataset) & (known["measure"] == "macro_f1")]
    places = len(methods) + len(known)
    figure, axes = panels(1, len(measures), height=0.32 * places + 1.3, sharey=True)
    for axis, measure in zip(axes, measures, strict=True):
        for place, method in enumerate(methods):
            dots(axis, rows[rows["method"] == method], measure, place, colour(method))
        axis.set(xlabel=literal(tables.heading(measure, recipe)), ylim=(places - 0.5, -0.5))
        axis.grid(axis="x", alpha=0.3)
        if measure == "bertscore_f1":
            axis.margins(x=0.12)
            axis.xaxis.set_major_locator(MaxNLocator(4))
        else:
            axis.set_xlim(-0.03, 1.03)
    hollow = {"color": GREY, "mfc": "white", "ms": 5, "ls": ""}
    axes[0].plot(known["value"] / 100, range(len(methods), places), "D", **hollow)
    names = titles(recipe, methods)
    names += [_published_name(row, recipe) for _, row in known.iterrows()]
    axes[0].set_yticks(range(places), names)
    return finish(figure, f"Labels and rationales on {dataset}", recipe)


def _published_name(row: pd.Series, recipe: Recipe) -> str:
    name = f"{row['method']}, published {row['mark']}"
    if recipe.profile in row["profiles"]:
        return name
    return f"{name}\n(other data: not comparable)"


def with_values(rows: pd.DataFrame, *measures: str) -> list[str]:
    """Those of the measures that some row has."""
    return [name for name in measures if name in rows and rows[name].notna().any()]


def per_class(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 1b: F1 of each class (columns, label order) for every method (rows), seeds' mean."""
    rows = frame[frame["dataset"] == dataset]
    methods = list(dict.fromkeys(rows["method"]))
    labels = list(dict.fromkeys(rows["label"]))
    means = rows.pivot_table(index="method", columns="label", values="f1", aggfunc="mean")
    figure, (axis,) = panels(1, 1, height=0.32 * len(methods) + 1.5)
    sns.heatmap(
        means.loc[methods, labels].rename(columns=literal),
        annot=len(labels) <= 12,
        fmt=".2f",
        cmap="viridis",
        vmin=0,
        vmax=1,
        ax=axis,
        cbar_kws={"label": "F1"},
    )
    axis.set_yticklabels(titles(recipe, methods), rotation=0)
    axis.set_xticklabels([wrap(label) for label in labels], rotation=0)
    axis.set(xlabel="", ylabel="")
    return finish(figure, f"F1 by class on {dataset}", recipe)


def confusion(counts: pd.DataFrame, recipe: Recipe, title: str) -> Figure:
    """One run: share of each gold label's cases (rows) predicted as each label (columns)."""
    if "invalid" in counts and not counts["invalid"].any():
        counts = counts.drop(columns="invalid")
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    shares = shares.rename(index=literal, columns=literal)
    figure, (axis,) = panels(1, 1, height=0.45 * len(counts) + 1.7)
    annot = len(counts) <= 12
    sns.heatmap(shares, annot=annot, fmt=".2f", cmap="Blues", vmin=0, vmax=1, ax=axis, cbar=False)
    axis.set_xticklabels([wrap(label) for label in counts.columns], rotation=0)
    axis.set_yticklabels(map(literal, counts.index), rotation=0)
    axis.set(xlabel="Predicted", ylabel="Gold")
    return finish(figure, title, recipe)


def training(curves: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 7: the schedules as logged, training loss, validation macro-F1, a line a method."""
    rows = curves[curves["dataset"] == dataset]
    steps = rows.dropna(subset=["loss"])
    figure, axes = panels(1, 3, height=3.4)
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _schedules(axes[0], steps)
    _losses(axes[1], steps, recipe)
    _validation(axes[2], rows)
    settings = recipe.datasets.get(dataset)
    if settings is not None and settings.labels == "open":
        axes[2].set_title("Validation accuracy")
    legend_below(figure, *axes[1].get_legend_handles_labels())
    return finish(figure, f"Training on {dataset}, mean over seeds", recipe)


def _schedules(axis: Axes, steps: pd.DataFrame) -> None:
    """a(t) and p(t) of one run of Reason2Decide; they are alike in all."""
    staged = steps[steps["method"].str.startswith("r2d")]
    first = staged["method"].min(), staged["seed"].min()
    log = staged[(staged["method"] == first[0]) & (staged["seed"] == first[1])]
    weight, probability = log["label_weight"], log["sampling_probability"]
    axis.plot(log["step"], weight, color=BLUE, label="label weight a(t)")
    axis.plot(log["step"], probability, color=VERMILION, ls="--", label="sampling p(t)")
    axis.set(ylim=(0, 1), xlabel="Step", title="Schedules of stage 2")
    axis.legend(frameon=False, fontsize=7, loc="lower right")


def _losses(axis: Axes, steps: pd.DataFrame, recipe: Recipe) -> None:
    for method, part in steps.groupby("method", sort=False):
        mean = part.groupby("step")["loss"].mean().rolling(5, min_periods=1).mean()
        style = {"color": colour(method), "ls": line_style(method)}
        (name,) = titles(recipe, [method])
        axis.plot(mean.index, mean, label=name, **style)
    axis.set(yscale="log", xlabel="Step", title="Training loss")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.4)))


def _validation(axis: Axes, rows: pd.DataFrame) -> None:
    scored = rows[~rows["method"].str.startswith("stage1")].dropna(subset=["validation"])
    for method, part in scored.groupby("method", sort=False):
        mean = part.groupby("step")["validation"].mean()
        axis.plot(mean.index, mean, color=colour(method), marker="o", ms=3)
    axis.set(ylim=(0, 1), xlabel="Step", title="Validation macro-F1")


def reliability(calibration: dict, recipe: Recipe, title: str) -> Figure:
    """Can stated probabilities be believed, and what does abstaining buy?

    `calibration` is what a run's `calibration.json` says. Left, accuracy by confidence on the test
    split before and after the temperature; right, validation's accuracy over the cases answered.
    """
    test = calibration["test"]
    figure, (left, right) = panels(1, 2, height=3.4)
    left.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1)
    for when, shade in (("before", VERMILION), ("after", BLUE)):
        bins = pd.DataFrame(test[f"reliability_{when}"])
        name = f"{when}: ECE {test[f'ece_{when}']:.3f}"
        left.plot(bins["confidence"], bins["accuracy"], "o-", color=shade, ms=4, label=name)
    left.set(xlim=(0, 1), ylim=(0, 1), xlabel="Confidence", ylabel="Accuracy")
    left.set_title(f"Test, {test['n']} cases")
    left.legend(frameon=False, fontsize=8, loc="upper left")
    curve = pd.DataFrame(calibration["curve"])
    right.plot(curve["coverage"], curve["accuracy"], "o-", color=GREEN, ms=3)
    right.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="Accuracy over them")
    right.set_xlabel("Share of cases answered")
    right.set_title(f"Abstaining, validation, {calibration['validation']['n']} cases")
    return finish(figure, title, recipe)
