"""What all figures share: width, colours, the profile's stamp, and how seeds are drawn."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from r2d.recipes import Recipe

WIDTH = 7.2  # inches, a page's text width: letters are 7 points or more in print
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

COLOURS = {  # a method family has one colour everywhere
    "majority": "#999999",
    "tfidf": BLACK,
    "sft": ORANGE,
    "dss": SKY,
    "stage1": PINK,
    "r2d": GREEN,
    "qlora": VERMILION,
    "lora": BLUE,
}


def colour(method: str) -> str:
    """A method's colour: by its tuning when that is an adapter, else by its family."""
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


def finish(figure: Figure, title: str, recipe: Recipe) -> Figure:
    """Title and, below it, the profile's stamp.

    A small-scale figure can't be mistaken for the paper's then.
    """
    return stamped(figure, title, f"profile {recipe.note}")


def stamped(figure: Figure, title: str, stamp: str) -> Figure:
    """Title and, below it, what the figure was made on."""
    below = 1 - 0.26 / figure.get_figheight()
    figure.suptitle(f"{literal(title)}\n", fontsize=10)
    figure.text(0.5, below, literal(stamp), ha="center", va="top", fontsize=7, color=STAMP)
    sns.despine(figure)
    plt.close(figure)  # else a notebook shows it twice: as the cell's value, and as one left open
    return figure


def dots(axis: Axes, rows: pd.DataFrame, measure: str, place: int, shade: str) -> None:
    """One method's seeds at height `place`: dots with 95 % intervals, and a bar at their mean."""
    rows = rows[rows[measure].notna()] if measure in rows else rows.iloc[:0]
    if rows.empty:
        across = axis.get_yaxis_transform()
        style = {"va": "center", "color": GREY, "fontsize": 8}
        axis.text(0.02, place, "writes none", transform=across, **style)
        return
    for k, (_, row) in enumerate(rows.iterrows()):
        y = place + 0.16 * (k - (len(rows) - 1) / 2)
        ends = [row[f"{measure}_low"], row[f"{measure}_high"]]
        axis.plot(ends, [y, y], color=shade, lw=1, alpha=0.6)
        axis.plot(row[measure], y, "o", color=shade, ms=4)
    mean = rows[measure].mean()
    axis.plot([mean, mean], [place - 0.32, place + 0.32], color=shade, lw=2.5)


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
