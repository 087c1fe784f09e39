"""Every figure of the story: its experiment, the tables it reads, how it is drawn and read."""

import base64
import html
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from r2d import paths
from r2d.errors import R2DError
from r2d.experiments import grid
from r2d.recipes import Recipe
from r2d.reporting import (
    changes,
    escape,
    figures,
    figures_curves,
    figures_llm,
    figures_studies,
    manifest,
    tables,
)


@dataclass(frozen=True)
class Entry:
    """A figure drawn by `draw(*tables, recipe, dataset)` for every dataset of its first table.

    `tables` are files `runs/<profile>/results/<table>.csv`. The figure is left out where its
    `experiment` was not chosen; one without belongs to the main table. It is left out of datasets
    of which `worth(rows, recipe)` says that there is nothing to see, by their rows in the table
    `judged_by`, or the first one.
    """

    experiment: str
    tables: tuple[str, ...]
    draw: Callable[..., Figure]
    caption: str
    worth: Callable[[pd.DataFrame, Recipe], bool] = lambda rows, recipe: True
    judged_by: str = ""


GALLERY = {
    "fig1a_main": Entry(
        "",
        ("runs", "comparisons", "by_kind"),
        figures.main_result,
        "Left, macro-F1 of every method: a mark is the mean over seeds (small dots) with its "
        "95 % interval, seeds and test examples both random; dotted, the majority class and, of "
        "synthetic notes, the rule that made them. Middle, the reference minus each method, with "
        "the corrected interval: right of zero the reference has the higher score, and an interval "
        "that crosses zero is no difference that these runs can show. Right, accuracy by what has "
        "to be read for the label. The rule without negation is the score of a reader who ignores "
        "negation; without modifiers, of one who ignores modifiers.",
        figures.is_worth_drawing,
    ),
    "fig1b_classes": Entry(
        "",
        ("per_class",),
        figures.per_class,
        "F1 of each class, mean over seeds. Colours span what the methods that learn reach, so "
        "that small differences show: read the numbers for how far apart cells are; the majority "
        "class and the rules may lie beyond (arrows of the bar). A class is called worst only "
        "where it is lowest in every run.",
        figures.is_worth_drawing,
        "runs",
    ),
    "fig2_sources": Entry(
        "E2",
        ("e2_sources", "e2_differences"),
        figures_studies.sources,
        "Which rationales to learn from, stage 1 / stage 2: macro-F1, the reference's minus each "
        "other's with the corrected interval (right of zero the reference has the higher score; "
        "hollow: of one run each, so of two models), and the share of rationales that name the "
        "true reason.",
    ),
    "fig3_ablations": Entry(
        "E3",
        ("e3_ablations", "e3_differences"),
        figures_studies.ablations,
        "Left, macro-F1 of every variant, the reference's as a dashed line. Beside it, the "
        "reference minus each variant, with the corrected interval over seeds and test examples: "
        "right of zero the reference has the higher score. Where it was tested, the same for how "
        "many of a case's labels, told in turn, the rationale then supports (follows a forced "
        "label). An interval that crosses zero is no difference that these runs can show; of one "
        "run each (hollow) it is of two models.",
    ),
    "fig4_size": Entry(
        "E4",
        ("zero_shot",),
        figures_llm.size_against_f1,
        "Model size (logarithmic) against macro-F1 of fine-tuned and zero-shot models on the same "
        "test cases.",
        figures_llm.is_worth_drawing,
    ),
    "fig5_judge": Entry(
        "E5",
        ("judge", "judge_qualification"),
        figures_llm.judged,
        "A chat model as judge: its qualification on cases whose truth is known, and its grades. "
        "A judge counts only if it qualified; the grades of one that failed are grey and mean "
        "nothing.",
    ),
    "fig6_exposure": Entry(
        "E6",
        ("e6_exposure", "e6_support", "e6_gap_differences"),
        figures_studies.exposure,
        "Where the decision was wrong: does the rationale support the label in its prompt, the one "
        "that the model decided on (filled) or the gold one (hollow), and does it name the true "
        "reason? Small dots are seeds, lines 95 % intervals of the method's mean, seeds and cases "
        "random. The title compares the gaps, own minus gold label, by corrected tests. Right, how "
        "many of a case's labels, told in turn, the text then supports (dashed: at most so many "
        "if it did not listen). A small gap in quality beside low agreement is a "
        "rationale that no longer depends on the label. DSS's prompt names no label, so it has "
        "one mark.",
        figures.is_worth_drawing,
        "runs",
    ),
    "fig7_training": Entry(
        "",
        ("e8_curves",),
        figures.training,
        "The schedules a(t) and p(t) as they were logged, by the step of stage 2; training loss "
        "(running mean; stage 1 dotted, its adapter dash-dotted) and validation score, means over "
        "the seeds still training. A method that starts from stage 1 begins after its last step. "
        "Climbed to the end: a run's best evaluation is among the last two. Losses of different "
        "objectives are on different scales: look at their shape.",
    ),
    "fig8a_curves": Entry(
        "E9",
        ("e9_runs", "e9_tests"),
        figures_curves.curves,
        "Macro-F1 on the same test notes by the number of training notes, means over seeds. Bars "
        "are 95 % intervals of a method's mean, seeds and test notes both random (of a single "
        "run, test notes alone), and end at 1. Methods stand beside each other at each size. The "
        "title counts the sizes and noise levels at which corrected tests tell the two apart; "
        "bars that overlap do not say.",
    ),
    "fig8b_gains": Entry(
        "E9",
        ("e9_tests",),
        figures_curves.gains,
        "What rationales, sampling and stage 1 change in macro-F1. A mark is that of the method "
        "compared with, filled without label noise. Bars are 95 % intervals over seeds and test "
        "notes, corrected for all sizes and noise levels of a panel: one that crosses zero is no "
        "difference that these runs can show, which is not the same as none.",
    ),
    "fig8c_saved": Entry(
        "E9",
        ("e9_savings",),
        figures_curves.saved,
        "How many notes each method needs to reach the macro-F1 that SFT with R2D's compute has "
        "with so many: on the dashed line as many, below it fewer. Marks are where mean curves, "
        "straight between sizes, first get there; hollow where they do not. Bars hold every size "
        "at which tests, seeds and test notes random, do not tell the curve from that score, "
        "corrected for the sizes and noise levels; one that crosses the dashed line tells "
        "neither saving nor cost. Hollow without a bar: told below that score at every size "
        "tried, or single runs.",
    ),
    "fig8d_caps": Entry(
        "E9",
        ("e9_caps", "e9_cap_tests"),
        figures_curves.caps,
        "Reason2Decide by the cap of p(t), 0 without sampling: small dots are runs, marks their "
        "means. Left, what naming the true reason loses where the model's own wrong label is told "
        "instead of the gold one; bars are corrected 95 % intervals, and the gap counts as closed "
        "where a whole bar is above the dotted line (5 points). Beside it, whether the rationale "
        "supports the label it was told, and how many labels it follows when each is told; bars "
        "are 95 % intervals of the mean, not corrected, and end at 1. All over seeds and test "
        "notes. Axes are cut to the data; the level by chance, or without listening, is in the "
        "title. A closed gap beside low agreement or following is a rationale that ignores its "
        "label.",
    ),
}
TABLES = {  # copied beside the figures -> the table of the runs behind it
    "table_1.csv": "runs",
    "table_1.md": "runs",
    "comparisons.csv": "runs",
    "table_2.csv": "e7_runs",
}
DIFFERENCES = {  # copied, too, where these experiments were run: their tests of methods
    "e3_differences.csv": "e3_ablations",
    "e6_differences.csv": "e6_exposure",
    "e6_gap_differences.csv": "e6_exposure",
}
CHANGES = (changes.TABLE, changes.TEXT)  # copied, too, where the recipe was changed
TABLE_4 = "table_4.md"  # copied, too, where chat models were asked
FINDINGS = "findings.md"  # notebook 06's; 05's and 07's stand beside it until the figures are made


def draw(recipe: Recipe, name: str, experiments: Sequence[str]) -> list[Path]:
    """Draw and save figure `name` for each dataset of its tables; returns the PNGs.

    There are none where its experiment was not chosen.
    """
    entry = GALLERY[name]
    inputs = [_file(recipe, table) for table in entry.tables]
    number = name.removeprefix("fig").partition("_")[0]
    pictures = []
    for dataset in _datasets(recipe, entry, experiments):
        sources = [tables.read(file) for file in inputs]
        figure = entry.draw(*sources, recipe=recipe, dataset=dataset)
        shown = sources[0][sources[0]["dataset"] == dataset]
        caption = f"Figure {number}, {dataset}. {entry.caption}"
        picture = manifest.save(figure, f"{name}_{dataset}", shown, recipe, inputs, caption)
        pictures.append(picture)
    return pictures


def folder(recipe: Recipe) -> Path:
    """Where figures are read from: the last run's, or else those that a clone brings along."""
    made = paths.figures(recipe.profile)
    return made if made.is_dir() else paths.committed(recipe.profile)


def pictures(recipe: Recipe) -> list[Path]:
    """The PNGs of a profile's figures, by number.

    One of this machine whose tables have changed since is left out: a run of other experiments
    made them anew.
    """
    place = folder(recipe)
    brought = place == paths.committed(recipe.profile)
    return [
        place / f"{name}.png"
        for name, entry in manifest.read(place).items()
        if "caption" in entry and (brought or manifest.is_current(entry))
    ]


def show(pictures: Sequence[Path]) -> None:
    """Display pictures in a notebook, each with its caption below it."""
    from IPython.display import HTML, display

    for picture in pictures:
        caption = html.escape(manifest.read(picture.parent)[picture.stem]["caption"])
        data = base64.b64encode(picture.read_bytes()).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{caption}" width="820">'
        display(HTML(f"<figure>{image}<figcaption>{caption}</figcaption></figure>"))


def copy_tables(recipe: Recipe, experiments: Sequence[str]) -> None:
    """Put tables and findings beside the figures: the folder is all that a reader needs."""
    target = paths.figures(recipe.profile)
    for name, rows in _tables(experiments).items():
        (target / name).write_bytes((tables.folder(recipe) / name).read_bytes())
        manifest.record_origin(name, target / name, recipe, [_file(recipe, rows)])
    sizes = table_4(recipe, experiments)
    if sizes:
        (target / TABLE_4).write_text(f"{sizes}\n", encoding="utf-8")
        manifest.record_origin(TABLE_4, target / TABLE_4, recipe, [_file(recipe, "zero_shot")])
    tested = {n: rows for n, rows in DIFFERENCES.items() if n[:2].upper() in experiments}
    for name, rows in (tested | dict.fromkeys(CHANGES, "runs")).items():
        source = tables.folder(recipe) / name
        if source.is_file():
            (target / name).write_bytes(source.read_bytes())
            manifest.record_origin(name, target / name, recipe, [_file(recipe, rows)])
    names = [FINDINGS, *(f"findings_{name}.md" for name in experiments)]
    sources = [tables.folder(recipe) / name for name in names]
    sources = [source for source in sources if source.is_file()]
    text = _joined([tables.read_text(source) for source in sources])
    (target / FINDINGS).write_text(text, encoding="utf-8")
    manifest.record_origin(FINDINGS, target / FINDINGS, recipe, sources)


def _joined(texts: Sequence[str]) -> str:
    """The blocks of several findings, table 1's first, then by the number of their experiment."""
    blocks = [block for text in texts for block in re.split(r"\n\n(?=\*\*E)", text)]

    def number(block: str) -> int:
        heading = re.match(r"\*\*E(\d+)", block)
        return int(heading[1]) if heading else 0

    return "\n\n".join(sorted(blocks, key=number)) + "\n"


def names(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """The figures of these experiments."""
    return [
        f"{name}_{dataset}"
        for name, entry in GALLERY.items()
        for dataset in _datasets(recipe, entry, experiments)
    ]


def tidy(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """Drop figures that the recipe has no more; returns the names of those of `experiments`.

    What an earlier run drew of other experiments stays.
    """
    kept = names(recipe, list(recipe.experiments))
    manifest.keep_only(recipe, {*kept, *TABLES, TABLE_4, *DIFFERENCES, *CHANGES, FINDINGS})
    return names(recipe, experiments)


def commit(recipe: Recipe) -> Path:
    """Put a whole run's figures and tables into the project, in place of those that are there.

    Raises `R2DError` where the run left something of the recipe's experiments out.
    """
    made, kept = paths.figures(recipe.profile), paths.committed(recipe.profile)
    experiments = list(recipe.experiments)
    whole = {*names(recipe, experiments), *_tables(experiments), FINDINGS}
    missing = whole - set(manifest.read(made))
    if missing:
        raise R2DError(
            f"{made} has no {', '.join(sorted(missing))}: run all of the profile first, with "
            f"`./run_all.sh {recipe.profile}`."
        )
    part = kept.with_name(f".{kept.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(made, part)
    shutil.rmtree(kept, ignore_errors=True)
    part.rename(kept)
    return kept


def table_4(recipe: Recipe, experiments: Sequence[str]) -> str:
    """The chat models beside the fine-tuned ones, as Markdown; "" where none was asked."""
    file = _file(recipe, "zero_shot")
    if not grid.with_llms(recipe, experiments) or not file.is_file():
        return ""
    shown = tables.read(file)
    note = f"Profile: {escape.plain(tables.stamp(recipe, shown['dataset']))}"
    return f"{note}\n\n{escape.table(tables.sizes(shown))}"


def _tables(experiments: Sequence[str]) -> dict[str, str]:
    """`TABLES` where the experiments have any."""
    return TABLES if grid.in_tables(experiments) else {}


def _datasets(recipe: Recipe, entry: Entry, experiments: Sequence[str]) -> list[str]:
    file = _file(recipe, entry.tables[0])
    if entry.experiment and entry.experiment not in experiments:
        return []
    datasets = list(dict.fromkeys(tables.read(file)["dataset"])) if file.is_file() else []
    for dataset in datasets:
        paths.named(str(dataset))  # figures are called by it
    if not datasets:
        return []
    judged = tables.read(_file(recipe, entry.judged_by or entry.tables[0]))
    return [name for name in datasets if entry.worth(judged[judged["dataset"] == name], recipe)]


def _file(recipe: Recipe, table: str) -> Path:
    return tables.folder(recipe) / f"{table}.csv"
