"""One function a figure: DataFrame in, Figure out; `save` writes it with its source and its origin."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from r2d import env, paths
from r2d.config import Recipe
from r2d.results import MEASURES

# Okabe and Ito's colour-blind-safe palette; a method family has one colour everywhere.
COLOURS = {"majority": "#999999", "tfidf": "#000000", "sft": "#E69F00", "dss": "#56B4E9", "stage1": "#CC79A7",
           "r2d": "#009E73", "qlora": "#D55E00", "lora": "#0072B2"}  # fmt: skip


def colour(method: str) -> str:
    """A method's colour: by its tuning when that is an adapter, else by its family."""
    family, _, tuning = method.partition("-")
    if tuning in COLOURS and family == "r2d":
        return COLOURS[tuning]
    return COLOURS.get(family, "#F0E442")


def main_result(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 1: macro-F1, BERTScore and reason share of every method; dots are seeds, bars 95 % intervals over examples."""
    rows = frame[frame["dataset"] == dataset]
    shown = [m for m in ("macro_f1", "bertscore_f1", "names_reason") if m in rows and rows[m].notna().any()]
    methods = list(dict.fromkeys(rows["method"]))
    figure, axes = _panels(1, len(shown), width=3.1 * len(shown) + 1.2, height=0.42 * len(methods) + 1.5, sharey=True)
    for axis, measure in zip(axes, shown, strict=True):
        for place, method in enumerate(methods):
            _dots(axis, rows[rows["method"] == method], measure, place, colour(method))
        axis.set(xlabel=MEASURES[measure], ylim=(len(methods) - 0.5, -0.5))
        axis.grid(axis="x", alpha=0.3)
        if measure == "bertscore_f1":
            axis.margins(x=0.12)
        else:
            axis.set_xlim(-0.03, 1.03)
    axes[0].set_yticks(range(len(methods)), [recipe.methods[m].title for m in methods])
    return _finish(figure, f"Labels and rationales on {dataset}", recipe)


def _dots(axis, rows: pd.DataFrame, measure: str, place: int, shade: str) -> None:
    rows = rows[rows[measure].notna()] if measure in rows else rows.iloc[:0]
    if rows.empty:
        axis.text(0.02, place, "writes none", transform=axis.get_yaxis_transform(), va="center", color="#777777", fontsize=8)
        return
    for k, (_, row) in enumerate(rows.iterrows()):
        y = place + 0.16 * (k - (len(rows) - 1) / 2)
        axis.plot([row[f"{measure}_low"], row[f"{measure}_high"]], [y, y], color=shade, lw=1, alpha=0.6)
        axis.plot(row[measure], y, "o", color=shade, ms=4)
    mean = rows[measure].mean()
    axis.plot([mean, mean], [place - 0.32, place + 0.32], color=shade, lw=2.5)


def per_class(frame: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """F1 of each class (columns, label order) for every method (rows), mean over seeds."""
    rows = frame[frame["dataset"] == dataset]
    methods, labels = list(dict.fromkeys(rows["method"])), list(dict.fromkeys(rows["label"]))
    table = rows.pivot_table(index="method", columns="label", values="f1", aggfunc="mean").loc[methods, labels]
    figure, (axis,) = _panels(1, 1, width=1.0 * len(labels) + 3.2, height=0.42 * len(methods) + 1.9)
    sns.heatmap(table, annot=True, fmt=".2f", cmap="viridis", vmin=0, vmax=1, ax=axis, cbar_kws={"label": "F1"})
    axis.set_yticklabels([recipe.methods[m].title for m in methods], rotation=0)
    axis.set_xticklabels([_wrap(label) for label in labels], rotation=0)
    axis.set(xlabel="", ylabel="")
    return _finish(figure, f"F1 by class on {dataset}", recipe)


def confusion(table: pd.DataFrame, recipe: Recipe, title: str) -> Figure:
    """Confusion matrix of one run: share of each gold label's cases (rows) predicted as each label (columns)."""
    if not table["invalid"].any():
        table = table.drop(columns="invalid")
    shares = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    figure, (axis,) = _panels(1, 1, width=0.95 * len(table.columns) + 2.6, height=0.55 * len(table) + 2.0)
    sns.heatmap(shares, annot=True, fmt=".2f", cmap="Blues", vmin=0, vmax=1, ax=axis, cbar=False)
    axis.set_xticklabels([_wrap(label) for label in table.columns], rotation=0)
    axis.set_yticklabels(table.index, rotation=0)
    axis.set(xlabel="Predicted", ylabel="Gold")
    return _finish(figure, title, recipe)


def training(curves: pd.DataFrame, recipe: Recipe, dataset: str) -> Figure:
    """Figure 7: Reason2Decide's two schedules as logged, training loss, and validation macro-F1, one line a method."""
    rows = curves[curves["dataset"] == dataset]
    figure, axes = _panels(1, 3, width=12.5, height=3.4)
    steps = rows.dropna(subset=["loss"])
    staged = steps[steps["method"].str.startswith("r2d")]
    first = staged[(staged["method"] == staged["method"].min()) & (staged["seed"] == staged["seed"].min())]
    axes[0].plot(first["step"], first["label_weight"], color="#0072B2", label="label weight a(t)")
    axes[0].plot(first["step"], first["sampling_probability"], color="#D55E00", ls="--", label="sampling p(t)")
    axes[0].set(ylim=(0, 1), xlabel="Step", title="Schedules of stage 2")
    for method, part in steps.groupby("method", sort=False):
        mean = part.groupby("step")["loss"].mean().rolling(5, min_periods=1).mean()
        axes[1].plot(mean.index, mean, color=colour(method), label=recipe.methods[method].title, ls=_line(method))
    axes[1].set(yscale="log", xlabel="Step", ylabel="Loss", title="Training loss")
    scored = rows[~rows["method"].str.startswith("stage1")].dropna(subset=["validation"])
    for method, part in scored.groupby("method", sort=False):
        mean = part.groupby("step")["validation"].mean()
        axes[2].plot(mean.index, mean, color=colour(method), marker="o", ms=3, label=recipe.methods[method].title)
    axes[2].set(ylim=(0, 1), xlabel="Step", ylabel="Macro-F1", title="Validation")
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    handles, names = axes[1].get_legend_handles_labels()
    axes[2].legend(handles, names, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _finish(figure, f"Training on {dataset}, mean over seeds", recipe)


def save(figure: Figure, name: str, source: pd.DataFrame, recipe: Recipe, inputs: Sequence[Path]) -> Path:
    """Write PNG, PDF, source CSV and the manifest entry (hashes of the inputs, commit, profile, recipe) of a figure."""
    folder = paths.figures(recipe.profile)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160)
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    source.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    record_origin(name, recipe, inputs)
    plt.close(figure)
    return folder / f"{name}.png"


def record_origin(name: str, recipe: Recipe, inputs: Sequence[Path]) -> None:
    """Note in `manifest.json` what a figure or table was made from."""
    path = paths.figures(recipe.profile) / "manifest.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    hashes = {str(p.relative_to(paths.home())): hashlib.sha256(p.read_bytes()).hexdigest()[:12] for p in sorted(inputs)}
    known[name] = {"profile": recipe.profile, "recipe": recipe.fingerprint(), "commit": env.commit(), "inputs": hashes}
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


def tidy(recipe: Recipe, made: set[str]) -> None:
    """Drop what an earlier run left in the profile's figures folder: every figure, table and origin not in `made`."""
    path = paths.figures(recipe.profile) / "manifest.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({k: v for k, v in known.items() if k in made}, indent=1) + "\n", encoding="utf-8")
    for file in path.parent.iterdir():
        if file.suffix in {".png", ".pdf", ".csv", ".md"} and not {file.name, file.stem} & made:
            file.unlink()


def _panels(rows: int, columns: int, width: float, height: float, **given) -> tuple[Figure, list]:
    sns.set_theme(context="paper", style="ticks", font_scale=1.05)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **given)
    return figure, list(axes.flat)


def _finish(figure: Figure, title: str, recipe: Recipe) -> Figure:
    """Title and the profile's stamp, so that a small-scale figure can't be mistaken for the paper's."""
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(f"profile {recipe.note}", fontsize=7.5, color="#B00020")
    sns.despine(figure)
    return figure


def _line(method: str) -> str:
    if method.startswith("stage1"):
        return "-." if "lora" in method else ":"
    return "-"


def _wrap(label: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, 11))
