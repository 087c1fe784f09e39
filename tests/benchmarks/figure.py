"""The figure of cost against size (E7): latency of label and rationale by each engine."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from r2d.reporting.theme import BLUE, GREEN, GREY, VERMILION, legend_below, panels, stamped

GENERATE = "generate"  # the straightforward way
STYLES = {
    GENERATE: (GREY, "s"),
    "torch": (GREEN, "o"),
    "CTranslate2 float32": (BLUE, "^"),
    "CTranslate2 int8": (VERMILION, "D"),
}


def latency(frame: pd.DataFrame, note: str) -> Figure:
    """Milliseconds of a case against parameters, both logarithmic.

    `frame` is `latency.csv`; `note` says of what and on what.
    """
    figure, (axis,) = panels(1, 1, height=3.6)
    marks = []
    for engine, rows in frame.groupby("engine", sort=False):
        shade, marker = STYLES[engine]
        x, y = rows["parameters"] / 1e6, 1000 * rows["median"]
        above = 1000 * (rows["p95"] - rows["median"])
        bars = [above * 0, above.clip(lower=0)]
        marks.append(axis.errorbar(x, y, bars, color=shade, marker=marker, ms=5, lw=1.2, capsize=2))
    axis.set(xscale="log", yscale="log", xlabel="Parameters (millions)")
    axis.set_ylabel("Milliseconds of a case,\nup to the 95th percentile")
    axis.grid(axis="y", alpha=0.3)
    sizes = frame.drop_duplicates("size")
    axis.set_xticks(sizes["parameters"] / 1e6, _ticks(sizes))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_formatter("{x:g}")
    legend_below(figure, marks, list(dict.fromkeys(frame["engine"])))
    return stamped(figure, _title(frame), note)


def _ticks(sizes: pd.DataFrame) -> list[str]:
    pairs = zip(sizes["size"], sizes["parameters"] / 1e6, strict=True)
    return [f"{name}\n{millions:.0f}" for name, millions in pairs]


def _title(frame: pd.DataFrame) -> str:
    """What the fastest engine is worth, as measured."""
    by_engine = frame[frame["engine"] != GENERATE].groupby("engine")["times_as_fast"]
    best = by_engine.min().idxmax()
    low, high = by_engine.min()[best], by_engine.max()[best]
    return (
        f"A label and its rationale: {best} is {low:.1f} to {high:.1f} times as fast as {GENERATE}"
    )
