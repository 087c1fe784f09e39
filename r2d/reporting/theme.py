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
MAGENTA = "#D0006F"  # stage 1, which lies on other methods' lines
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
    "stage1": MAGENTA,
    "r2d": GREEN,
    "no-stage1": PINK,
    "no-sampling": VERMILION,
    "r2dc": "#6A51A3",
    "qlora": VERMILION,
    "lora": BLUE,
}
MARKERS = {  # and one mark; all of them can be hollow
    "tfidf": "X",
    "rule": "*",
    "rule-no-negation": "<",
    "rule-no-modifiers": ">",
    "sft": "p",
    "sft-matched": "D",
    "dss": "s",
    "r2d": "o",
    "no-stage1": "v",
    "no-sampling": "^",
    "r2dc": "P",
    "qlora": "d",
    "lora": "d",
}
OF_R2D = ("no-stage1", "no-sampling", "qlora", "lora")  # how its variants' names end or go on


def colour(method: str) -> str:
    """A method's colour: its own, or of its part or adapter in Reason2Decide, or its family's."""
    return COLOURS.get(_look(method), YELLOW)


def marker(method: str) -> str:
    """A method's mark, found as its colour is."""
    return MARKERS.get(_look(method), "o")


def _look(method: str) -> str:
    """Under which name a method's colour and mark are found."""
    if method in COLOURS:
        return method
    family = method.partition("-")[0]
    if family == "r2d":
        for variant in OF_R2D:
            if f"-{variant}" in method:
                return variant
    return family


def line_style(method: str) -> str | tuple:
    """Stage 1 is dotted, its adapter dash-dotted, all else solid."""
    if not method.startswith("stage1"):
        return "-"
    return (0, (3, 1, 1, 1)) if "lora" in method else ":"  # "-." is too long for a legend


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
    lines = _lines(title)
    below = 1 - (0.09 + 0.17 * len(lines)) / figure.get_figheight()
    figure.suptitle(literal("\n".join([*lines, ""])), fontsize=9.5)
    figure.text(0.5, below, literal(stamp), ha="center", va="top", fontsize=7, color=STAMP)
    sns.despine(figure)
    plt.close(figure)  # else a notebook shows it twice: as the cell's value, and as one left open
    return figure


def _lines(title: str) -> list[str]:
    """A title in as few lines as fit the width, which are about equally long."""
    lines = textwrap.wrap(title, TITLE_LETTERS, break_on_hyphens=False)
    for letters in range(TITLE_LETTERS - 1, 0, -1):
        narrower = textwrap.wrap(title, letters, break_long_words=False, break_on_hyphens=False)
        if len(narrower) > len(lines) or max(map(len, narrower)) > letters:
            break
        lines = narrower
    return lines


def dots(axis: Axes, rows: pd.DataFrame, measure: str, place: int, method: str) -> None:
    """One method at height `place`: its seeds as small dots, their mean, and its 95 % interval.

    Seeds and test examples are random in the interval (`collect.runs`): there is no bar where that
    is not known.
    """
    rows = rows[rows[measure].notna()] if measure in rows else rows.iloc[:0]
    if rows.empty:
        across = axis.get_yaxis_transform()
        style = {"va": "center", "color": GREY, "fontsize": 7}
        axis.text(0.03, place, "writes none", transform=across, **style)
        return
    shade = colour(method)
    bar(axis, rows, measure, place, color=shade, lw=1.6)
    seeds = rows[measure] if rows[measure].nunique() > 1 else []
    for k, value in enumerate(seeds):
        y = place + 0.2 + 0.06 * (k - (len(rows) - 1) / 2)
        axis.plot(value, y, "o", color=shade, ms=2.2, alpha=0.8)
    axis.plot(rows[measure].mean(), place, marker(method), color=shade, ms=5)


def bar(axis: Axes, rows: pd.DataFrame, measure: str, place: float, **style) -> None:
    """The interval of a method's mean, seeds and cases random; nothing where a row has none."""
    ends = [f"{measure}_method_{end}" for end in ("low", "high")]
    if set(ends) <= set(rows) and rows[ends].notna().all(axis=None):
        axis.plot(rows[ends].mean(), [place, place], **style)


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
