"""What all figures share: width, colours, the profile's stamp, and how seeds are drawn."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from r2d.recipes import Recipe
from r2d.reporting.tables import stamp

WIDTH = 7.2  # inches, a page's text width: letters are 7 points or more in print
TITLE_LETTERS = 92  # of a title's line
SIZES = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
}

# Okabe and Ito's colour-blind-safe palette.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PINK = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#777777"  # reference lines and remarks
STAMP = "#B00020"

COLOURS = {  # a method family has one colour everywhere; what trains nothing is grey
    "majority": "#C0C0C0",
    "tfidf": BLACK,
    "rule": "#444444",
    "rule-no-negation": "#6E6E6E",
    "rule-no-modifiers": "#989898",
    "sft": ORANGE,
    "sft-matched": "#8C510A",
    "dss": SKY,
    "stage1": PINK,
    "r2d": GREEN,
    "r2dc": "#6A51A3",
    "qlora": VERMILION,
    "lora": BLUE,
}


def colour(method: str) -> str:
    """A method's colour: its own, or by its tuning when that is an adapter, or its family's."""
    if method in COLOURS:
        return COLOURS[method]
    family, *parts = method.split("-")
    adapters = [part for part in parts if part in ("lora", "qlora")]
    if family == "r2d" and adapters:
        return COLOURS[adapters[0]]
    return COLOURS.get(family, YELLOW)


def line_style(method: str) -> str:
    """Stage 1 is dotted, its adapter dash-dotted, all else solid."""
    if not method.startswith("stage1"):
        return "-"
    return "-." if "lora" in method else ":"


def panels(rows: int, columns: int, height: float, **given) -> tuple[Figure, list[Axes]]:
    """Axes on a figure of the text's width and `height` inches; `given` goes to `subplots`."""
    sns.set_theme(context="paper", style="ticks", rc=SIZES)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False, **given
    )
    return figure, list(axes.flat)


def finish(figure: Figure, title: str, recipe: Recipe, dataset: str = "") -> Figure:
    """Title and, below it, the profile's stamp; it says so where the `dataset` is synthetic.

    A small-scale figure can't be mistaken for the paper's then.
    """
    return stamped(figure, title, f"profile {stamp(recipe, [dataset])}")


def stamped(figure: Figure, title: str, stamp: str) -> Figure:
    """Title, in lines of the text's width, and below it what the figure was made on."""
    lines = textwrap.wrap(title, TITLE_LETTERS)
    below = 1 - (0.09 + 0.17 * len(lines)) / figure.get_figheight()
    figure.suptitle(literal("\n".join([*lines, ""])), fontsize=9.5)
    figure.text(0.5, below, literal(stamp), ha="center", va="top", fontsize=7, color=STAMP)
    sns.despine(figure)
    plt.close(figure)  # else a notebook shows it twice: as the cell's value, and as one left open
    return figure


def dots(axis: Axes, rows: pd.DataFrame, measure: str, place: int, shade: str) -> None:
    """One method at height `place`: its seeds as small dots, their mean, and its 95 % interval.

    Seeds and test examples are random in the interval (`collect.runs`); where that is not known it
    is the seeds' intervals over examples, averaged.
    """
    rows = rows[rows[measure].notna()] if measure in rows else rows.iloc[:0]
    if rows.empty:
        across = axis.get_yaxis_transform()
        style = {"va": "center", "color": GREY, "fontsize": 7}
        axis.text(0.03, place, "writes none", transform=across, **style)
        return
    ends = [_end(rows, measure, "low"), _end(rows, measure, "high")]
    axis.plot(ends, [place, place], color=shade, lw=1.6)
    seeds = rows[measure] if rows[measure].nunique() > 1 else []
    for k, value in enumerate(seeds):
        y = place + 0.2 + 0.06 * (k - (len(rows) - 1) / 2)
        axis.plot(value, y, "o", color=shade, ms=2.2, alpha=0.8)
    axis.plot(rows[measure].mean(), place, "D", color=shade, ms=4.5)


def _end(rows: pd.DataFrame, measure: str, end: str) -> float:
    of_method = f"{measure}_method_{end}"
    known = of_method in rows and rows[of_method].notna().all()
    return rows[of_method if known else f"{measure}_{end}"].mean()


def legend_below(figure: Figure, handles: Sequence, names: Sequence[str], columns: int = 4) -> None:
    """One legend for the whole figure, below its axes."""
    columns = min(columns, max(1, len(names)))
    figure.legend(handles, names, frameon=False, loc="outside lower center", ncols=columns)


def wrap(label: str) -> str:
    """A label in lines of at most eleven letters, for the ticks of narrow columns."""
    return literal("\n".join(textwrap.wrap(label, 11)))


def titles(recipe: Recipe, methods: Sequence[str]) -> list[str]:
    """The methods' names for people, for ticks and legends."""
    return [literal(recipe.methods[method].title) for method in methods]


def literal(text: str) -> str:
    """A text that others wrote, for a figure: matplotlib would read `$...$` as a formula."""
    return text.replace("$", r"\$")
