"""Figures of the chat models: size against macro-F1 (4), the judge and its qualification (5)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from r2d.llms.judge import CRITERIA
from r2d.recipes import Recipe
from r2d.reporting import chat_models
from r2d.reporting.theme import (
    BLUE,
    GREY,
    PINK,
    VERMILION,
    colour,
    finish,
    literal,
    marker,
    panels,
)

ZERO_SHOT, FAILED = PINK, "#BBBBBB"
MARKERS = "sD^vP*X<>phd"
FEWEST = 5  # models of figure 4


def size_against_f1(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 4: parameters (logarithmic) against macro-F1 with 95 % intervals, zero-shot in pink.

    Each model has a marker of its own; the hollow one beside it is the same chat model with its
    labels scored. The title is what E4 found.
    """
    rows = frame[frame["dataset"] == dataset]
    figure, (axis,) = panels(1, 1, height=3.8)
    for kind in ("fine-tuned", "zero-shot"):
        models = rows[rows["kind"] == kind]
        marks = _marks(models["name"])
        for _, row in models.iterrows():
            shade = ZERO_SHOT if kind == "zero-shot" else colour(row["name"])
            _model(axis, row, shade, marks[row["name"]])
    for _, row in rows[rows["kind"] == "majority"].iterrows():
        axis.axhline(row["macro_f1"], color=GREY, ls="--", lw=1, label="Majority class")
    low, high = rows["parameters"].min(), rows["parameters"].max()
    axis.set(xscale="log", xlim=(low / 2, high * 2), ylim=(0, 1))
    axis.set(xlabel="Parameters", ylabel="Macro-F1")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    cases = int(rows["cases"].max())
    found = chat_models.sentences(rows) or [f"Model size and macro-F1 on {dataset}, {cases} cases"]
    return finish(figure, found[0], recipe, dataset)


def is_worth_drawing(rows: pd.DataFrame, recipe: Recipe) -> bool:
    """Whether there are models enough for a line of sight: fewer are a table (`tables.sizes`)."""
    return rows.dropna(subset=["parameters"])["name"].nunique() >= FEWEST


def _marks(names: Sequence[str]) -> dict[str, str]:
    """Each name's mark: its own of all figures, or another where an earlier name has that one."""
    marks: dict[str, str] = {}
    for place, name in enumerate(dict.fromkeys(names)):
        free = [mark for mark in (marker(name), *MARKERS) if mark not in marks.values()]
        marks[name] = free[0] if free else MARKERS[place % len(MARKERS)]
    return marks


def _model(axis: Axes, row: pd.Series, shade: str, marker: str) -> None:
    """One model's point and interval; a little to the right and hollow where labels were scored."""
    x, name, fill = row["parameters"], row["title"], shade
    if row["how"] == "scored":
        x, name, fill = 1.09 * x, f"{name}, labels scored", "white"
    axis.plot([x, x], [row["macro_f1_low"], row["macro_f1_high"]], color=shade, lw=1.2)
    style = {"color": shade, "mfc": fill, "ms": 6, "ls": "", "clip_on": False, "zorder": 3}
    axis.plot(x, row["macro_f1"], marker, label=literal(name), **style)


def judged(
    scores: pd.DataFrame, qualification: pd.DataFrame, recipe: Recipe, dataset: str
) -> Figure:
    """Figure 5: the judge's qualification, and its grades of every method, grey where it failed."""
    grades = scores[scores["dataset"] == dataset]
    tests = qualification[qualification["dataset"] == dataset]
    figure, (left, right) = panels(1, 2, height=3.6)
    _qualification(left, tests)
    _grades(right, grades, passed=bool(tests["passed"].all()))
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.3)
    return finish(figure, _outcome(tests, dataset), recipe, dataset)


def _outcome(tests: pd.DataFrame, dataset: str) -> str:
    """Whether the judge qualified, and by what it did or did not, for the title."""
    worst = tests.loc[tests["accuracy"].idxmin()]
    ranks = (
        f"it ranks gold above '{worst['corruption']}' in {worst['accuracy']:.0%} of pairs "
        f"({worst['threshold']:.0%} asked for)"
    )
    agrees = (
        f"it agrees with itself at kappa {_kappa(tests):.2f} ({worst['kappa_threshold']:.2f} asked "
        "for)"
    )
    if tests["passed"].all():
        return f"{worst['judge']} qualified as judge on {dataset}: {ranks}, its weakest; {agrees}"
    missed = []
    if worst["accuracy"] < worst["threshold"]:
        missed.append(ranks)
    if worst["kappa"] < worst["kappa_threshold"]:
        missed.append(agrees)
    failed = f"{worst['judge']} failed as judge on {dataset}"
    return f"{failed}: {'; '.join(missed)}" if missed else failed


def _kappa(tests: pd.DataFrame) -> float:
    return round(tests["kappa"].iloc[0], 2) + 0.0  # never "-0.00"


def _qualification(axis: Axes, tests: pd.DataFrame) -> None:
    shade = BLUE
    for place, (_, row) in enumerate(tests.iterrows()):
        axis.plot([row["low"], row["high"]], [place, place], color=shade, lw=1.4)
        axis.plot(row["accuracy"], place, "o", color=shade, ms=6)
    axis.axvline(tests["threshold"].iloc[0], color=VERMILION, ls="--", lw=1.2)
    axis.set_yticks(range(len(tests)), tests["corruption"])
    axis.set(xlim=(-0.03, 1.03), ylim=(len(tests) - 0.5, -0.5))
    axis.set_xlabel("Pairs in which gold is ranked above it")
    verdict = "passed" if tests["passed"].all() else "FAILED"
    needed = f"kappa {tests['kappa_threshold'].iloc[0]:.2f} (has {_kappa(tests):.2f})"
    axis.set_title(f"{verdict}: needs the dashed line\nand {needed}")


def _grades(axis: Axes, grades: pd.DataFrame, passed: bool) -> None:
    known = grades.dropna(subset=["mean"])
    marks = _marks(grades["method"])
    for k, (method, mark) in enumerate(marks.items()):
        part = known[known["method"] == method]
        shade = colour(method) if passed else FAILED
        shift = 0.22 * (k - (len(marks) - 1) / 2)
        y = [CRITERIA.index(name) + shift for name in part["criterion"]]
        axis.hlines(y, part["low"], part["high"], color=shade, lw=1.2)
        title = grades.loc[grades["method"] == method, "title"].iloc[0]
        axis.plot(part["mean"], y, mark, color=shade, ms=5, ls="", label=literal(title))
    if known.empty:
        middle = {"transform": axis.transAxes, "ha": "center", "color": GREY}
        axis.text(0.5, 0.5, "none of its answers could be read", **middle)
    names = [f"{name}\n(low is good)" if name == "harm" else name for name in CRITERIA]
    axis.set_yticks(range(len(CRITERIA)), names)
    axis.set(xlim=(0.8, 5.2), xticks=range(1, 6), ylim=(len(CRITERIA) - 0.5, -0.5))
    axis.set_xlabel("Mean grade, 1 to 5")
    title = "Grades by method" if passed else "The judge failed: grades mean nothing"
    readable = 1 - grades["missing_rate"].mean()
    axis.set_title(f"{title};\n{readable:.0%} of its answers could be read")
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3)
