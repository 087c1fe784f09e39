"""Figures of the main comparison (1), of single runs and of training (7)."""

import math
from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from r2d.recipes import Recipe
from r2d.reporting import comparisons, tables, undertrained
from r2d.reporting.kinds import ALL
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
    marker,
    panels,
    titles,
    wrap,
)

# Of a colour bar, by whether values lie below and above it.
ARROWS = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}


def main_result(
    frame: pd.DataFrame, tests: pd.DataFrame, kinds: pd.DataFrame, recipe: Recipe, dataset: str
) -> Figure:
    """Figure 1a: how well every method decides, by how much the reference differs, and which cases.

    `tests` are `comparisons.with_reference` and `kinds` `kinds.by_kind`, without rows where the
    kinds of cases are not known. The majority class, and of synthetic notes the rule, are lines.
    """
    rows = frame[frame["dataset"] == dataset]
    measure = "macro_f1" if rows["macro_f1"].notna().any() else "accuracy"
    bounds = {name: _bound(recipe, name) for name in dict.fromkeys(rows["method"])}
    methods = [name for name, text in bounds.items() if not text]
    kinds = kinds[kinds["dataset"] == dataset] if len(kinds) else kinds
    widths = [1, 1, 1.6] if len(kinds) else [1, 1]
    figure, axes = panels(
        1, len(widths), 0.3 * len(methods) + 1.6, sharey=True, width_ratios=widths
    )
    levels_and_differences(axes, rows, tests, recipe, methods)
    for name, text in bounds.items():
        if text:
            _bounding_line(axes[0], rows.loc[rows["method"] == name, measure].mean(), text)
    if len(kinds):
        _by_kind(axes[2], kinds, methods)
    title = comparisons.verdict(recipe, tests, dataset) or f"Deciding on {dataset}"
    return finish(figure, title, recipe, dataset)


def is_worth_drawing(rows: pd.DataFrame, recipe: Recipe) -> bool:
    """Whether a figure of these runs of one dataset has a point: some network learned to decide.

    Where none did the findings say so.
    """
    return not tables.unlearned(rows, recipe)


def _bound(recipe: Recipe, method: str) -> str:
    """What the line of a method that bounds all others is called; "" for one with a row."""
    return {"majority": "majority", "rule": "ceiling"}.get(recipe.methods[method].objective, "")


def _bounding_line(axis: Axes, value: float, text: str) -> None:
    """A dotted line; one so far off that it would squeeze the rest together is an arrow to it."""
    low, high = axis.get_xlim()
    style = {"va": "bottom", "fontsize": 7, "color": GREY}
    if low - (high - low) <= value <= high + (high - low):
        axis.axvline(value, color=GREY, ls=":", lw=1.1, zorder=0)
        axis.text(value, 1.01, text, ha="center", transform=axis.get_xaxis_transform(), **style)
    else:
        axis.text(0, 1.01, f"← {text} {value:.2f}", ha="left", transform=axis.transAxes, **style)


def levels_and_differences(
    axes: Sequence[Axes],
    rows: pd.DataFrame,
    tests: pd.DataFrame,
    recipe: Recipe,
    methods: Sequence[str],
) -> None:
    """Macro-F1, or open labels' accuracy, of methods, and beside it the reference's minus theirs.

    `tests` are those of `comparisons.with_reference` on these rows.
    """
    measure = "macro_f1" if rows["macro_f1"].notna().any() else "accuracy"
    left, right = axes[:2]
    for place, method in enumerate(methods):
        dots(left, rows[rows["method"] == method], measure, place, method)
    level = rows.loc[rows["method"] == recipe.reference, measure].mean()
    left.axvline(level, color=GREY, ls="--", lw=1, zorder=0)
    left.set(xlabel=literal(tables.heading(measure, recipe)), ylim=(len(methods) - 0.5, -0.5))
    _grid(left)
    labels = tests
    if len(tests):
        of_dataset = tests["dataset"] == rows["dataset"].iloc[0]
        labels = tests[of_dataset & ~tests["measure"].isin(comparisons.RATIONALES)]
    draw_differences(right, labels, recipe, methods, measure)
    if len(tests):
        _say_not_compared(right, recipe, methods)
    left.set_yticks(range(len(methods)), titles(recipe, methods))


def draw_differences(
    axis: Axes, tests: pd.DataFrame, recipe: Recipe, methods: Sequence[str], measure: str
) -> None:
    """The reference minus each method on one measure, in points, the sign that sentences have.

    `tests` are those of one dataset on this measure; their corrected intervals are drawn, and marks
    are hollow where they are of one run each. A method that was not tested has an empty row.
    """
    places = {method: place for place, method in enumerate(methods)}
    for _, row in tests.iterrows():
        if row["against"] not in places:
            continue
        place, shade = places[row["against"]], colour(row["against"])
        fill = shade if row["runs"] > 1 else "white"
        axis.plot([100 * row["low"], 100 * row["high"]], [place, place], color=shade, lw=1.6)
        mark = marker(row["against"])
        axis.plot(100 * row["difference"], place, mark, color=shade, mfc=fill, ms=5)
    axis.axvline(0, color=GREY, ls="--", lw=1, zorder=0)
    name, reference = tables.heading(measure, recipe), recipe.methods[recipe.reference].title
    axis.set_xlabel(literal(f"{name}:\n{reference} minus it, in points"))
    _grid(axis)


def _say_not_compared(axis: Axes, recipe: Recipe, methods: Sequence[str]) -> None:
    """In the rows of bounds, on that side of zero where there is more room."""
    x, side = (0.97, "right") if sum(axis.get_xlim()) > 0 else (0.03, "left")
    style = {"va": "center", "ha": side, "color": GREY, "fontsize": 7}
    for place, method in enumerate(methods):
        if comparisons.is_bound(recipe, method):
            axis.text(x, place, "not compared", transform=axis.get_yaxis_transform(), **style)


def _grid(axis: Axes) -> None:
    axis.grid(axis="x", alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(4))


def _by_kind(axis: Axes, kinds: pd.DataFrame, methods: Sequence[str]) -> None:
    """Accuracy in points by kind of case, written into cells, the lower the darker."""
    columns = [kind for kind in dict.fromkeys(kinds["kind"]) if kind != ALL]
    wide = kinds.pivot_table(index="method", columns="kind", values="accuracy", sort=False)
    cells = 100 * wide.reindex(index=methods, columns=columns)
    axis.imshow(cells, cmap="YlOrBr_r", vmin=0, vmax=130, aspect="auto")  # letters stay readable
    for place, (_, row) in enumerate(cells.iterrows()):
        for column, value in enumerate(row):
            if pd.notna(value):
                shade = "white" if value < 40 else "black"
                style = {"ha": "center", "va": "center", "fontsize": 7, "color": shade}
                axis.text(column, place, f"{value:.0f}", **style)
    cases = kinds.drop_duplicates("kind").set_index("kind")["cases"]
    names = [f"{wrap(kind)}\n({cases[kind]:.0f})" for kind in columns]
    axis.set_xticks(range(len(columns)), names, fontsize=7)
    axis.tick_params(length=0)
    axis.set_xlabel("Accuracy by kind of case (cases)")


def with_values(rows: pd.DataFrame, *measures: str) -> list[str]:
    """Those of the measures that some row has."""
    return [name for name in measures if name in rows and rows[name].notna().any()]


def per_class(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 1b: F1 of each class (columns, label order) for every method (rows), seeds' mean.

    Colours span what the methods that learn reach; the majority class and the rules may lie beyond.
    """
    rows = frame[frame["dataset"] == dataset]
    methods = list(dict.fromkeys(rows["method"]))
    labels = list(dict.fromkeys(rows["label"]))
    means = rows.pivot_table(index="method", columns="label", values="f1", aggfunc="mean")
    learn = [name for name in methods if _learns(recipe, name)] or methods
    low, high = _colour_limits(means.loc[learn])
    beyond = bool((means < low).any(axis=None)), bool((means > high).any(axis=None))
    figure, (axis,) = panels(1, 1, height=0.32 * len(methods) + 1.7)
    sns.heatmap(
        means.loc[methods, labels].rename(columns=literal),
        annot=len(labels) <= 12,
        fmt=".2f",
        cmap="viridis",
        vmin=low,
        vmax=high,
        ax=axis,
        cbar_kws={"label": f"F1; colours span {low:.2f} to {high:.2f}", "extend": ARROWS[beyond]},
    )
    axis.set_yticklabels(titles(recipe, methods), rotation=0)
    axis.set_xticklabels([wrap(label) for label in labels], rotation=0)
    axis.set(xlabel="", ylabel="")
    title = _worst_classes(rows[rows["method"].isin(learn)], recipe, dataset)
    return finish(figure, title, recipe, dataset)


def _learns(recipe: Recipe, method: str) -> bool:
    """Whether a method decides by what it learned of notes: not the majority class, not a rule."""
    return not _bound(recipe, method) and not comparisons.is_bound(recipe, method)


def _colour_limits(means: pd.DataFrame) -> tuple[float, float]:
    """The range of these values to twentieths, at least a tenth, so that noise isn't glaring."""
    low = math.floor(20 * means.min(axis=None)) / 20
    high = math.ceil(20 * means.max(axis=None)) / 20
    return min(low, 0.9), min(1.0, max(high, low + 0.1))


def _worst_classes(rows: pd.DataFrame, recipe: Recipe, dataset: str) -> str:
    """Which class has each method's lowest F1, in words, for the title.

    A method has one only where it is the same in all of its runs.
    """
    methods: dict[str, list[str]] = {}
    for method, runs in rows.groupby("method", sort=False):
        methods.setdefault(_worst_class(runs), []).append(recipe.methods[method].title)
    change = methods.pop("", [])
    parts = [f"is {worst} for {'; '.join(named)}" for worst, named in methods.items()]
    if change:
        whose = "; ".join(change) if parts else "every method"
        parts.append(f"changes from run to run for {whose}")
    runs = ", one run each," if rows["seed"].nunique() == 1 else ""
    return f"By F1{runs} the worst class of {dataset} {'. It '.join(parts)}"


def _worst_class(runs: pd.DataFrame) -> str:
    """The class of the lowest F1 in every run of a method; "" where each run has another."""
    by_run = runs.pivot_table(index="seed", columns="label", values="f1", sort=False)
    lowest = by_run.eq(by_run.min(axis=1), axis=0).all()
    if lowest.sum() > 1:
        return "a tie"
    return "".join(f"'{label}'" for label in by_run.columns[lowest])


def confusion(counts: pd.DataFrame, recipe: Recipe, title: str, dataset: str = "") -> Figure:
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
    return finish(figure, title, recipe, dataset)


def training(curves: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 7: the schedules as logged, training loss, validation macro-F1, a line a method.

    Stage 2 begins where the stage 1 that it starts from ended, if the table has that.
    """
    rows = curves[curves["dataset"] == dataset]
    settings = recipe.datasets.get(dataset)
    is_open = settings is not None and settings.labels == "open"
    measure = "accuracy" if is_open else "macro-F1"
    figure, axes = panels(1, 3, height=3.5, width_ratios=[0.8, 1.1, 1.1])
    _schedules(axes[0], rows.dropna(subset=["loss"]))
    whole = _after_stage_1(rows, recipe)
    _losses(axes[1], whole, recipe)
    _validation(axes[2], whole, recipe)
    axes[2].set_title(f"Validation {measure}")
    moved = (whole["step"] != rows["step"]).any()
    for axis in axes[1:]:
        axis.set_xlabel("Step, stage 1 included" if moved else "Step")
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    lines = {}
    for axis in axes[1:]:  # the second has marks, the first has stage 1
        handles, names = axis.get_legend_handles_labels()
        lines |= dict(zip(names, handles, strict=True))
    legend_below(figure, list(lines.values()), list(lines))
    title = f"On {dataset} validation {measure} {_climbing(rows, recipe)}"
    return finish(figure, title, recipe, dataset)


def _is_stage_1(method: str) -> bool:
    return method.startswith("stage1")


def _after_stage_1(rows: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """The logs with the steps of stage 2 counted on from the last step of its stage 1."""
    last = rows.groupby("method")["step"].max()
    before = [last.get(recipe.methods[method].init, 0) for method in rows["method"]]
    return rows.assign(step=rows["step"] + before)


def _climbing(rows: pd.DataFrame, recipe: Recipe) -> str:
    """Of which methods validation still climbed in the end (`undertrained`), for the title."""
    scored = rows[~rows["method"].map(_is_stage_1)].dropna(subset=["validation"])
    said: dict[str, list[str]] = {}
    for method, part in scored.groupby("method", sort=False):
        logs = [run.sort_values("step") for _, run in part.groupby("seed") if len(run) > 1]
        ends = [undertrained.still_climbing(log.to_dict("records")) for log in logs]
        if ends:
            said.setdefault(_share_climbing(ends), []).append(recipe.methods[method].title)
    parts = [f"{words} of {'; '.join(named)}" for words, named in sorted(said.items())]
    return ". It ".join(parts) or "was taken too rarely to say whether it still climbed"


def _share_climbing(ends: Sequence[bool]) -> str:
    """What to say of a method by whether each of its runs still climbed."""
    if all(ends):
        return "climbed to the end in every run"
    if any(ends):
        return f"climbed to the end in {sum(ends)} of {len(ends)} runs"
    return "had stopped climbing in every run"


def _schedules(axis: Axes, steps: pd.DataFrame) -> None:
    """a(t) and p(t) of one run of Reason2Decide; they are alike in all."""
    staged = steps[steps["method"].str.startswith("r2d")]
    first = staged["method"].min(), staged["seed"].min()
    log = staged[(staged["method"] == first[0]) & (staged["seed"] == first[1])]
    weight, probability = log["label_weight"], log["sampling_probability"]
    axis.plot(log["step"], weight, color=BLUE, label="label weight a(t)")
    axis.plot(log["step"], probability, color=VERMILION, ls="--", label="sampling p(t)")
    axis.set(ylim=(0, 1), xlabel="Step of stage 2", title="Schedules of stage 2")
    axis.legend(frameon=False, fontsize=7, loc="lower right")


def _losses(axis: Axes, rows: pd.DataFrame, recipe: Recipe) -> None:
    """Running means; stage 1 lies on top of the lines that it runs along."""
    for method, part in rows.dropna(subset=["loss"]).groupby("method", sort=False):
        mean = part.groupby("step")["loss"].mean().rolling(5, min_periods=1).mean()
        style = {"ls": line_style(method)}
        if _is_stage_1(method):
            style |= {"lw": 1.9, "zorder": 4}
        _line(axis, mean, method, recipe, **style)
    axis.set(yscale="log", title="Training loss")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _validation(axis: Axes, rows: pd.DataFrame, recipe: Recipe) -> None:
    scored = rows[~rows["method"].map(_is_stage_1)].dropna(subset=["validation"])
    for method, part in scored.groupby("method", sort=False):
        mean = part.groupby("step")["validation"].mean()
        _line(axis, mean, method, recipe, marker=marker(method), ms=3.5)
    axis.set_ylim(0, 1)


def _line(axis: Axes, mean: pd.Series, method: str, recipe: Recipe, **style) -> None:
    """A method's line; the reference's is thin, hollow, and above those that it runs along."""
    (name,) = titles(recipe, [method])
    if method == recipe.reference:
        style |= {"lw": 0.9, "mfc": "none", "zorder": 3}
    axis.plot(mean.index, mean, label=name, color=colour(method), **style)


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
