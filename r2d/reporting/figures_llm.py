"""Figures of the chat models: size against macro-F1 (4) and the judge with its qualification (5)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from r2d.llms.judge import CRITERIA
from r2d.recipes import Recipe
from r2d.reporting.figures import _finish, _panels, colour

ZERO_SHOT, FAILED = "#CC79A7", "#BBBBBB"
MARKERS = "sD^vP*X<>phd"


def size_against_f1(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 4: parameters (logarithmic) against macro-F1 of fine-tuned and zero-shot models (pink), with 95 % intervals.

    Each model has a marker of its own; the hollow one beside it is the same chat model with its labels scored.
    """
    rows = frame[frame["dataset"] == dataset]
    figure, (axis,) = _panels(1, 1, height=3.8)
    for kind in ("fine-tuned", "zero-shot"):
        part = rows[rows["kind"] == kind]
        places = {name: k % len(MARKERS) for k, name in enumerate(dict.fromkeys(part["name"]))}
        for _, row in part.iterrows():
            _model(
                axis,
                row,
                ZERO_SHOT if kind == "zero-shot" else colour(row["name"]),
                MARKERS[places[row["name"]]],
            )
    for _, row in rows[rows["kind"] == "majority"].iterrows():
        axis.axhline(row["macro_f1"], color="#777777", ls="--", lw=1, label="Majority class")
    low, high = rows["parameters"].min(), rows["parameters"].max()
    axis.set(
        xscale="log", xlim=(low / 2, high * 2), ylim=(0, 1), xlabel="Parameters", ylabel="Macro-F1"
    )
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    return _finish(
        figure,
        f"Model size and macro-F1 on {dataset}, {int(rows['cases'].max())} test cases",
        recipe,
    )


def _model(axis: Axes, row: pd.Series, shade: str, marker: str) -> None:
    """One model's point and interval; drawn a little to the right and hollow where its labels were scored."""
    scored = row["how"] == "scored"
    x, name = (
        row["parameters"] * (1.09 if scored else 1),
        f"{row['title']}, labels scored" if scored else row["title"],
    )
    axis.plot([x, x], [row["macro_f1_low"], row["macro_f1_high"]], color=shade, lw=1.2)
    fill = "white" if scored else shade
    axis.plot(
        x,
        row["macro_f1"],
        marker,
        color=shade,
        mfc=fill,
        ms=6,
        ls="",
        label=name,
        clip_on=False,
        zorder=3,
    )


def judged(
    scores: pd.DataFrame, qualification: pd.DataFrame, recipe: Recipe, dataset: str
) -> Figure:
    """Figure 5: the judge's qualification (left) and its grades of every method (right), grey where it failed."""
    rows, tests = (part[part["dataset"] == dataset] for part in (scores, qualification))
    figure, (left, right) = _panels(1, 2, height=3.6)
    _qualification(left, tests)
    _grades(right, rows, passed=bool(tests["passed"].all()))
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.3)
    judge, missing = tests["judge"].iloc[0], rows["missing_rate"].mean()
    return _finish(
        figure,
        f"{judge} as judge on {dataset}; {1 - missing:.0%} of its answers could be read",
        recipe,
    )


def _qualification(axis: Axes, tests: pd.DataFrame) -> None:
    for place, (_, row) in enumerate(tests.iterrows()):
        axis.plot([row["low"], row["high"]], [place, place], color="#0072B2", lw=1.4)
        axis.plot(row["accuracy"], place, "o", color="#0072B2", ms=6)
    axis.axvline(tests["threshold"].iloc[0], color="#D55E00", ls="--", lw=1.2)
    axis.set_yticks(range(len(tests)), tests["corruption"])
    axis.set(
        xlim=(-0.03, 1.03),
        ylim=(len(tests) - 0.5, -0.5),
        xlabel="Pairs in which gold is ranked above it",
    )
    verdict, kappa, wanted = (
        ("passed" if tests["passed"].all() else "FAILED"),
        tests["kappa"].iloc[0],
        tests["kappa_threshold"].iloc[0],
    )
    axis.set_title(
        f"{verdict}: needs the dashed line\nand kappa {wanted:.2f} (has {round(kappa, 2) + 0.0:.2f})"
    )


def _grades(axis: Axes, rows: pd.DataFrame, passed: bool) -> None:
    known, methods = rows.dropna(subset=["mean"]), list(dict.fromkeys(rows["method"]))
    for k, method in enumerate(methods):
        shade, part = colour(method) if passed else FAILED, known[known["method"] == method]
        y = [
            CRITERIA.index(name) + 0.22 * (k - (len(methods) - 1) / 2) for name in part["criterion"]
        ]
        axis.hlines(y, part["low"], part["high"], color=shade, lw=1.2)
        title = rows.loc[rows["method"] == method, "title"].iloc[0]
        axis.plot(part["mean"], y, MARKERS[k % len(MARKERS)], color=shade, ms=5, ls="", label=title)
    if known.empty:
        axis.text(
            0.5,
            0.5,
            "none of its answers could be read",
            transform=axis.transAxes,
            ha="center",
            color="#777777",
        )
    axis.set_yticks(
        range(len(CRITERIA)),
        [f"{name}\n(low is good)" if name == "harm" else name for name in CRITERIA],
    )
    axis.set(
        xlim=(0.8, 5.2),
        xticks=range(1, 6),
        ylim=(len(CRITERIA) - 0.5, -0.5),
        xlabel="Mean grade, 1 to 5",
    )
    axis.set_title("Grades" if passed else "Grades of a judge that failed:\nthey mean nothing")
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3)
