"""One function a figure: DataFrame in, Figure out; `save` writes it with its source and its origin."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from r2d import env, paths
from r2d.recipes import Recipe
from r2d.reporting import results

WIDTH = 7.2  # inches

# Okabe and Ito's colour-blind-safe palette; a method family has one colour everywhere.
COLOURS = {"majority": "#999999", "tfidf": "#000000", "sft": "#E69F00", "dss": "#56B4E9", "stage1": "#CC79A7",
           "r2d": "#009E73", "qlora": "#D55E00", "lora": "#0072B2"}  # fmt: skip


def colour(method: str) -> str:
    """A method's colour: by its tuning when that is an adapter, else by its family."""
    family, *parts = method.split("-")
    adapter = next((part for part in parts if part in ("lora", "qlora")), None)
    return COLOURS[adapter] if adapter and family == "r2d" else COLOURS.get(family, "#F0E442")


def main_result(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 1: macro-F1, BERTScore and reason share of every method; dots are seeds, bars 95 % intervals over examples.

    Published macro-F1 of the same dataset stands below, hollow and with its mark.
    """
    rows = frame[frame["dataset"] == dataset]
    shown = [
        m
        for m in ("macro_f1", "bertscore_f1", "names_reason")
        if m in rows and rows[m].notna().any()
    ]
    methods = list(dict.fromkeys(rows["method"]))
    known = results.published()
    known = known[(known["dataset"] == dataset) & (known["measure"] == "macro_f1")]
    places = len(methods) + len(known)
    figure, axes = _panels(1, len(shown), height=0.32 * places + 1.3, sharey=True)
    for axis, measure in zip(axes, shown, strict=True):
        for place, method in enumerate(methods):
            _dots(axis, rows[rows["method"] == method], measure, place, colour(method))
        axis.set(xlabel=results.heading(measure, recipe), ylim=(places - 0.5, -0.5))
        axis.grid(axis="x", alpha=0.3)
        if measure == "bertscore_f1":
            axis.margins(x=0.12)
            axis.xaxis.set_major_locator(MaxNLocator(4))
        else:
            axis.set_xlim(-0.03, 1.03)
    axes[0].plot(
        known["value"] / 100,
        range(len(methods), places),
        "D",
        color="#777777",
        mfc="white",
        ms=5,
        ls="",
    )
    remark = known["profiles"].map(
        lambda some: "" if recipe.profile in some else "\n(other data: not comparable)"
    )
    names = (known["method"] + ", published " + known["mark"] + remark).tolist()
    axes[0].set_yticks(range(places), [recipe.methods[m].title for m in methods] + names)
    return _finish(figure, f"Labels and rationales on {dataset}", recipe)


def _dots(axis, rows: pd.DataFrame, measure: str, place: int, shade: str) -> None:
    rows = rows[rows[measure].notna()] if measure in rows else rows.iloc[:0]
    if rows.empty:
        axis.text(
            0.02,
            place,
            "writes none",
            transform=axis.get_yaxis_transform(),
            va="center",
            color="#777777",
            fontsize=8,
        )
        return
    for k, (_, row) in enumerate(rows.iterrows()):
        y = place + 0.16 * (k - (len(rows) - 1) / 2)
        axis.plot(
            [row[f"{measure}_low"], row[f"{measure}_high"]], [y, y], color=shade, lw=1, alpha=0.6
        )
        axis.plot(row[measure], y, "o", color=shade, ms=4)
    mean = rows[measure].mean()
    axis.plot([mean, mean], [place - 0.32, place + 0.32], color=shade, lw=2.5)


def per_class(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """F1 of each class (columns, label order) for every method (rows), mean over seeds."""
    rows = frame[frame["dataset"] == dataset]
    methods, labels = list(dict.fromkeys(rows["method"])), list(dict.fromkeys(rows["label"]))
    table = rows.pivot_table(index="method", columns="label", values="f1", aggfunc="mean").loc[
        methods, labels
    ]
    figure, (axis,) = _panels(1, 1, height=0.32 * len(methods) + 1.5)
    sns.heatmap(
        table,
        annot=len(labels) <= 12,
        fmt=".2f",
        cmap="viridis",
        vmin=0,
        vmax=1,
        ax=axis,
        cbar_kws={"label": "F1"},
    )
    axis.set_yticklabels([recipe.methods[m].title for m in methods], rotation=0)
    axis.set_xticklabels([_wrap(label) for label in labels], rotation=0)
    axis.set(xlabel="", ylabel="")
    return _finish(figure, f"F1 by class on {dataset}", recipe)


def confusion(table: pd.DataFrame, recipe: Recipe, title: str) -> Figure:
    """Confusion matrix of one run: share of each gold label's cases (rows) predicted as each label (columns)."""
    if not table["invalid"].any():
        table = table.drop(columns="invalid")
    shares = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    figure, (axis,) = _panels(1, 1, height=0.45 * len(table) + 1.7)
    sns.heatmap(
        shares, annot=len(table) <= 12, fmt=".2f", cmap="Blues", vmin=0, vmax=1, ax=axis, cbar=False
    )
    axis.set_xticklabels([_wrap(label) for label in table.columns], rotation=0)
    axis.set_yticklabels(table.index, rotation=0)
    axis.set(xlabel="Predicted", ylabel="Gold")
    return _finish(figure, title, recipe)


def training(curves: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 7: Reason2Decide's two schedules as logged, training loss, and validation macro-F1, one line a method."""
    rows = curves[curves["dataset"] == dataset]
    figure, axes = _panels(1, 3, height=3.4)
    steps = rows.dropna(subset=["loss"])
    staged = steps[steps["method"].str.startswith("r2d")]
    first = staged[
        (staged["method"] == staged["method"].min()) & (staged["seed"] == staged["seed"].min())
    ]
    axes[0].plot(first["step"], first["label_weight"], color="#0072B2", label="label weight a(t)")
    axes[0].plot(
        first["step"],
        first["sampling_probability"],
        color="#D55E00",
        ls="--",
        label="sampling p(t)",
    )
    axes[0].set(ylim=(0, 1), xlabel="Step", title="Schedules of stage 2")
    axes[0].legend(frameon=False, fontsize=7, loc="lower right")
    for method, part in steps.groupby("method", sort=False):
        mean = part.groupby("step")["loss"].mean().rolling(5, min_periods=1).mean()
        axes[1].plot(
            mean.index,
            mean,
            color=colour(method),
            label=recipe.methods[method].title,
            ls=_line(method),
        )
    axes[1].set(yscale="log", xlabel="Step", title="Training loss")
    axes[1].yaxis.set_major_formatter("{x:g}")
    axes[1].yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.4)))
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    scored = rows[~rows["method"].str.startswith("stage1")].dropna(subset=["validation"])
    for method, part in scored.groupby("method", sort=False):
        mean = part.groupby("step")["validation"].mean()
        axes[2].plot(mean.index, mean, color=colour(method), marker="o", ms=3)
    axes[2].set(ylim=(0, 1), xlabel="Step", title="Validation macro-F1")
    legend_below(figure, *axes[1].get_legend_handles_labels())
    return _finish(figure, f"Training on {dataset}, mean over seeds", recipe)


def save(
    figure: Figure,
    name: str,
    source: pd.DataFrame,
    recipe: Recipe,
    inputs: Sequence[Path],
    caption: str = "",
) -> Path:
    """Write PNG, PDF, source CSV and the manifest entry (caption, hashes of the inputs, commit, profile, recipe) of a figure."""
    folder = paths.figures(recipe.profile)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160)
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    source.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    record_origin(name, folder / f"{name}.csv", recipe, inputs, caption)
    return folder / f"{name}.png"


def record_origin(
    name: str, file: Path, recipe: Recipe, inputs: Sequence[Path], caption: str = ""
) -> None:
    """Note in `manifest.json` the hash of a table or of a figure's source, and what it was made from."""
    path = paths.figures(recipe.profile) / "manifest.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    origin = {
        "sha256": _digest(file),
        "profile": recipe.profile,
        "recipe": recipe.fingerprint(),
        "commit": env.commit(),
    }
    origin["inputs"] = {str(p.relative_to(paths.home())): _digest(p) for p in sorted(inputs)}
    known[name] = ({"caption": caption} if caption else {}) | origin
    paths.write(path, json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def tidy(recipe: Recipe, made: set[str]) -> None:
    """Drop what an earlier run left in the profile's figures folder: every figure, table and origin not in `made`."""
    path = paths.figures(recipe.profile) / "manifest.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    paths.write(path, json.dumps({k: v for k, v in known.items() if k in made}, indent=1) + "\n")
    for file in path.parent.iterdir():
        if file.suffix in {".png", ".pdf", ".csv", ".md"} and not {file.name, file.stem} & made:
            file.unlink()


def _panels(rows: int, columns: int, height: float, **given) -> tuple[Figure, list]:
    """Axes on a figure of a page's text width, so that its letters are 7 points or more in print."""
    sns.set_theme(context="paper", style="ticks", rc={"font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8.5,
                  "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "legend.fontsize": 7.5})  # fmt: skip
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False, **given
    )
    return figure, list(axes.flat)


def legend_below(figure: Figure, handles: Sequence, names: Sequence[str], columns: int = 4) -> None:
    """One legend for the whole figure, below its axes."""
    figure.legend(
        handles,
        names,
        frameon=False,
        loc="outside lower center",
        ncols=min(columns, max(1, len(names))),
    )


def _finish(figure: Figure, title: str, recipe: Recipe) -> Figure:
    """Title and, below it, the profile's stamp, so that a small-scale figure can't be mistaken for the paper's."""
    figure.suptitle(f"{title}\n", fontsize=10)
    figure.text(
        0.5,
        1 - 0.26 / figure.get_figheight(),
        f"profile {recipe.note}",
        ha="center",
        va="top",
        fontsize=7,
        color="#B00020",
    )
    sns.despine(figure)
    plt.close(
        figure
    )  # else a notebook shows it twice: as the cell's value, and as a figure left open
    return figure


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _line(method: str) -> str:
    if method.startswith("stage1"):
        return "-." if "lora" in method else ":"
    return "-"


def _wrap(label: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, 11))
