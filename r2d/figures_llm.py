"""Figures of the chat models: size against macro-F1 (4) and the judge with its qualification (5)."""

import pandas as pd
from matplotlib.figure import Figure

from r2d.config import Recipe
from r2d.figures import _finish, _panels, colour
from r2d.judge import CRITERIA

ZERO_SHOT = "#CC79A7"


def size_against_f1(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 4: parameters (logarithmic) against macro-F1 of fine-tuned (dots) and zero-shot models (squares), 95 % intervals."""
    rows = frame[frame["dataset"] == dataset]
    figure, (axis,) = _panels(1, 1, width=7.6, height=3.6)
    for _, row in rows[rows["kind"] != "majority"].iterrows():
        zero = row["kind"] == "zero-shot"
        shade = ZERO_SHOT if zero else colour(row["name"])
        fill = "white" if row["how"] == "scored" else shade
        axis.plot([row["parameters"]] * 2, [row["macro_f1_low"], row["macro_f1_high"]], color=shade, lw=1.2)
        name = f"{row['title']}, labels {row['how']}" if row["how"] == "scored" else f"{row['title']}"
        axis.plot(row["parameters"], row["macro_f1"], "s" if zero else "o", color=shade, mfc=fill, ms=6, ls="", label=name)
    for _, row in rows[rows["kind"] == "majority"].iterrows():
        axis.axhline(row["macro_f1"], color="#777777", ls="--", lw=1, label="Majority class")
    axis.set(xscale="log", ylim=(0, 1), xlabel="Parameters", ylabel="Macro-F1")
    low, high = rows["parameters"].min(), rows["parameters"].max()
    axis.set_xlim(low / 2, high * 2)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _finish(figure, f"Model size and macro-F1 on {dataset}, {int(rows['cases'].max())} test cases", recipe)


def judged(scores: pd.DataFrame, qualification: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 5: the judge's qualification (left) and its grades of every method (right), grey where it failed."""
    rows, tests = (part[part["dataset"] == dataset] for part in (scores, qualification))
    passed = bool(tests["passed"].all())
    figure, (left, right) = _panels(1, 2, width=10.5, height=3.8)
    for place, (_, row) in enumerate(tests.iterrows()):
        left.plot([row["low"], row["high"]], [place, place], color="#0072B2", lw=1.4)
        left.plot(row["accuracy"], place, "o", color="#0072B2", ms=6)
    left.axvline(tests["threshold"].iloc[0], color="#D55E00", ls="--", lw=1.2)
    left.set_yticks(range(len(tests)), tests["corruption"])
    left.set(xlim=(-0.03, 1.03), ylim=(len(tests) - 0.5, -0.5), xlabel="Pairs in which gold is ranked above it")
    kappa, wanted = tests["kappa"].iloc[0], tests["kappa_threshold"].iloc[0]
    left.set_title(f"{'passed' if passed else 'FAILED'}: needs the dashed line, kappa {wanted:.2f} (has {kappa:.2f})", fontsize=9)
    methods = list(dict.fromkeys(rows["method"]))
    for k, method in enumerate(methods):
        shade = colour(method) if passed else "#BBBBBB"
        for place, name in enumerate(CRITERIA):
            for _, row in rows[(rows["method"] == method) & (rows["criterion"] == name)].dropna(subset=["mean"]).iterrows():
                y = place + 0.22 * (k - (len(methods) - 1) / 2)
                right.plot([row["low"], row["high"]], [y, y], color=shade, lw=1.2)
                right.plot(row["mean"], y, "osD^v"[k % 5], color=shade, ms=5, label=row["title"] if place == 0 else None)
    right.set_yticks(range(len(CRITERIA)), [f"{name}\n(low is good)" if name == "harm" else name for name in CRITERIA])
    right.set(xlim=(0.8, 5.2), ylim=(len(CRITERIA) - 0.5, -0.5), xlabel="Mean grade, 1 to 5")
    right.set_title("Grades" if passed else "Grades of a judge that failed: they mean nothing", fontsize=9)
    right.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.3)
    judge, missing = tests["judge"].iloc[0], rows["missing_rate"].mean()
    return _finish(figure, f"{judge} as judge on {dataset}; {missing:.0%} of its answers could not be read", recipe)
