"""The method in one figure: two stages, the coin between gold and own label, and inference.

Prompts and schedules are those of `r2d.method`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from r2d.method import prompts
from r2d.method.objective import R2D
from r2d.reporting.theme import BLUE, GREEN, GREY, SIZES, VERMILION, WIDTH

HEIGHT = 4.7  # inches, as all lengths here
DPI = 200
PREDICT = prompts.predict("{question}")
EXPLAIN = prompts.explain("{question}")
EXPLAIN_LABEL = prompts.explain("{question}", "{label}")

# Columns: left edge and width.
PROMPT, MODEL, TARGET = (0.2, 2.85), (3.65, 0.75), (5.0, 0.85)
LABEL_AT = 1.36  # where `{label}` stands in its prompt
ROW = 0.28  # height of a box


def draw(folder: Path) -> Path:
    """Write `method.png` and `method.pdf`; returns the PNG. Equal code gives equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figure()
    drawn.savefig(folder / "method.png")
    drawn.savefig(folder / "method.pdf", metadata={"CreationDate": None})
    return folder / "method.png"


def figure() -> Figure:
    """Stage 1, stage 2 and inference, from top to bottom."""
    sns.set_theme(context="paper", style="white", rc=SIZES)
    drawn = plt.figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
    axis = drawn.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axis.axis("off")
    _stage_1(axis)
    _stage_2(axis)
    _inference(axis)
    _arrow(axis, (_middle(MODEL), 4.03 - ROW / 2), (_middle(MODEL), 3.05 + ROW / 2))
    axis.text(_middle(MODEL) + 0.08, 3.68, "goes on as", va="center", color=GREY)
    _schedules(drawn)
    plt.close(drawn)  # else a notebook shows it twice
    return drawn


def _stage_1(axis: Axes) -> None:
    _band(axis, 3.8, 0.8, "Stage 1: learn to write rationales")
    _row(axis, 4.03, EXPLAIN, "rationale", GREEN)
    _model(axis, 4.03, 4.03)


def _stage_2(axis: Axes) -> None:
    top, bottom, between = 3.05, 1.85, 2.45
    _band(axis, 1.58, 1.98, "Stage 2: decide and explain")
    remark = "the coin changes the prompt; targets stay gold"
    axis.text(WIDTH - 0.2, 3.39, remark, ha="right", va="center", color=GREY)
    _row(axis, top, PREDICT, "label", BLUE)
    _row(axis, bottom, EXPLAIN_LABEL, "rationale", GREEN)
    _model(axis, top, bottom)
    axis.text(5.95, top, "loss × a(t)", va="center", color=BLUE)
    axis.text(5.95, bottom, "loss × (1 − a(t))", va="center", color=GREEN)

    axis.add_patch(Circle((LABEL_AT, between), 0.17, fc="#FBE3D6", ec=VERMILION, lw=1.2))
    axis.text(LABEL_AT, between, "coin", ha="center", va="center", fontsize=7)
    _arrow(axis, (LABEL_AT, between - 0.17), (LABEL_AT, bottom + ROW / 2), VERMILION)
    axis.text(0.2, between, "gold label", va="center")
    _arrow(axis, (0.78, between), (LABEL_AT - 0.17, between))
    axis.text(0.94, between + 0.07, "1 − p(t)", ha="center", fontsize=7)
    _arrow(axis, (MODEL[0], between), (LABEL_AT + 0.17, between), VERMILION)
    text = "p(t): the model's own label"
    axis.text(2.58, between + 0.07, text, ha="center", color=VERMILION)


def _inference(axis: Axes) -> None:
    top, bottom, between = 0.98, 0.3, 0.64
    _band(axis, 0.08, 1.35, "Inference")
    _row(axis, top, PREDICT, "label", BLUE)
    _row(axis, bottom, EXPLAIN_LABEL, "rationale", GREEN)
    _model(axis, top, bottom)
    axis.plot([MODEL[0], LABEL_AT], [between, between], color=VERMILION, lw=1)
    _arrow(axis, (LABEL_AT, between), (LABEL_AT, bottom + ROW / 2), VERMILION)
    axis.text(2.58, between + 0.05, "always its own label", ha="center", color=VERMILION)


def _schedules(drawn: Figure) -> None:
    """a(t) and p(t) over the steps of stage 2."""
    inset = drawn.add_axes((5.3 / WIDTH, 2.2 / HEIGHT, 1.1 / WIDTH, 0.52 / HEIGHT))
    steps = 200
    weight = [R2D.label_weight_at(step, steps) for step in range(steps)]
    probability = [R2D.sampling_probability_at(step, steps) for step in range(steps)]
    inset.plot(weight, color=BLUE, lw=1.2)
    inset.plot(probability, color=VERMILION, lw=1.2, ls="--")
    inset.set(xlim=(0, steps), ylim=(0, 1), xticks=[], yticks=[0, 1])
    inset.tick_params(labelsize=7, length=0, pad=1)
    inset.set_xlabel("step t", fontsize=7, labelpad=1)
    inset.text(steps * 1.04, weight[-1] - 0.12, "a(t)", color=BLUE, va="center")
    inset.text(steps * 1.04, probability[-1] + 0.02, "p(t)", color=VERMILION, va="center")
    sns.despine(ax=inset)


def _band(axis: Axes, bottom: float, height: float, title: str) -> None:
    style = {"boxstyle": "round,pad=0,rounding_size=0.08", "fc": "#F6F6F6", "ec": "#D0D0D0"}
    axis.add_patch(FancyBboxPatch((0.08, bottom), WIDTH - 0.16, height, zorder=0, **style))
    axis.text(0.2, bottom + height - 0.17, title, va="center", weight="bold", fontsize=9)


def _row(axis: Axes, y: float, prompt: str, target: str, shade: str) -> None:
    """A prompt, through the model, to its target."""
    _box(axis, PROMPT, y, prompt, GREY, family="monospace", fontsize=7.2)
    _arrow(axis, (sum(PROMPT), y), (MODEL[0], y))
    _arrow(axis, (sum(MODEL), y), (TARGET[0], y))
    _box(axis, TARGET, y, target, shade)


def _model(axis: Axes, top: float, bottom: float) -> None:
    """One network, from the row at `top` to the one at `bottom`."""
    height = top - bottom + ROW
    corner = (MODEL[0], bottom - ROW / 2)
    axis.add_patch(
        FancyBboxPatch(corner, MODEL[1], height, "square,pad=0", fc="#333333", ec="none")
    )
    middle = (top + bottom) / 2
    axis.text(_middle(MODEL), middle, "T5", ha="center", va="center", color="white", weight="bold")


def _box(axis: Axes, column: tuple[float, float], y: float, text: str, shade: str, **font) -> None:
    corner = (column[0], y - ROW / 2)
    style = "round,pad=0,rounding_size=0.05"
    axis.add_patch(FancyBboxPatch(corner, column[1], ROW, style, fc="white", ec=shade, lw=1.2))
    axis.text(_middle(column), y, text, ha="center", va="center", **font)


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], shade: str = "#333333"
) -> None:
    style = {"arrowstyle": "-|>", "color": shade, "lw": 1, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=style)


def _middle(column: tuple[float, float]) -> float:
    return column[0] + column[1] / 2
