"""Every figure of the story: the experiment it belongs to, the tables it reads, how it is drawn, and how to read it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from r2d import paths
from r2d.recipes import Recipe
from r2d.reporting import figures, figures_llm, figures_studies, results


@dataclass(frozen=True)
class Entry:
    """A figure drawn by `draw(*tables, recipe, dataset)` for every dataset of its tables (`runs/<profile>/results/<table>.csv`).

    It is left out where its `experiment` was not chosen; one without belongs to the main table.
    """

    experiment: str
    tables: tuple[str, ...]
    draw: Callable[..., Figure]
    caption: str


GALLERY = {
    "fig1a_main": Entry("", ("runs",), figures.main_result,
        "Labels and rationales of every method: a dot is a seed with its 95 % interval over test examples, a bar the mean over "
        "seeds. Methods whose intervals overlap widely are not told apart by this test set. Published values are second-hand and "
        "on other data or models."),
    "fig1b_classes": Entry("", ("per_class",), figures.per_class,
        "F1 of each class, mean over seeds: a dark cell is a class that a method hardly ever gets right."),
    "fig2_sources": Entry("E2", ("e2_sources",), figures_studies.sources,
        "Which rationales to learn from, stage 1 / stage 2: intervals over test examples that overlap are not told apart."),
    "fig3_ablations": Entry("E3", ("e3_ablations", "e3_differences"), figures_studies.ablations,
        "Left, macro-F1 of every variant, the reference's as a dashed line; right, accuracy minus the reference's, paired. An "
        "interval that crosses zero is no difference that this test set can show."),
    "fig4_size": Entry("E4", ("zero_shot",), figures_llm.size_against_f1,
        "Model size (logarithmic) against macro-F1 of fine-tuned and zero-shot models on the same test cases."),
    "fig5_judge": Entry("E5", ("judge", "judge_qualification"), figures_llm.judged,
        "A chat model as judge: its qualification on cases whose truth is known, and its grades. Those of a judge that "
        "failed are grey and mean nothing."),
    "fig6_exposure": Entry("E6", ("e6_exposure",), figures_studies.exposure,
        "Rationale scores given the label that the model decided on (filled) and given the gold one (hollow). The gap among "
        "wrong decisions is what a wrong label costs the rationale. DSS's prompt names no label, so it has one mark."),
    "fig7_training": Entry("", ("e8_curves",), figures.training,
        "The schedules a(t) and p(t) as they were logged, training loss (stage 1 dotted) and validation macro-F1, "
        "means over seeds. Losses of different objectives are on different scales: look at their shape."),
}  # fmt: skip
TABLES = {  # copied beside the figures -> the table of the runs behind it
    "table_1.csv": "runs", "table_1.md": "runs", "comparisons.csv": "runs", "table_2.csv": "e7_runs",
}  # fmt: skip
FINDINGS = "findings.md"  # of notebook 06; 05 and 07 leave theirs beside it, and all come together with the figures


def draw(recipe: Recipe, name: str, experiments: Sequence[str]) -> list[Path]:
    """Draw and save figure `name` for each dataset of its tables; returns the PNGs, none where its experiment was not chosen."""
    entry, made = GALLERY[name], []
    for dataset in _datasets(recipe, entry, experiments):
        tables = [_table(recipe, table) for table in entry.tables]
        figure = entry.draw(*tables, recipe=recipe, dataset=dataset)
        part = tables[0][tables[0]["dataset"] == dataset]
        inputs = [_file(recipe, table) for table in entry.tables]
        caption = f"Figure {name.removeprefix('fig').partition('_')[0]}, {dataset}. {entry.caption}"
        made.append(figures.save(figure, f"{name}_{dataset}", part, recipe, inputs, caption))
    return made


def copy_tables(recipe: Recipe, experiments: Sequence[str]) -> None:
    """Put the tables beside the figures, so that `figures/<profile>/` is all that a reader needs."""
    folder, target = paths.runs(recipe.profile) / "results", paths.figures(recipe.profile)
    for name, rows in TABLES.items():
        (target / name).write_bytes((folder / name).read_bytes())
        figures.record_origin(name, target / name, recipe, [_file(recipe, rows)])
    sources = [folder / FINDINGS, *(folder / f"findings_{name}.md" for name in experiments)]
    sources = [source for source in sources if source.is_file()]
    blocks = [
        block
        for s in sources
        for block in re.split(r"\n\n(?=\*\*E)", s.read_text(encoding="utf-8").strip())
    ]
    ordered = sorted(
        blocks, key=lambda block: int(found[1]) if (found := re.match(r"\*\*E(\d+)", block)) else 0
    )
    (target / FINDINGS).write_text("\n\n".join(ordered) + "\n", encoding="utf-8")
    figures.record_origin(FINDINGS, target / FINDINGS, recipe, sources)


def tidy(recipe: Recipe, experiments: Sequence[str]) -> list[str]:
    """Drop what earlier runs of other experiments left in the profile's figures folder; returns the names that stay."""
    names = [
        f"{n}_{d}" for n, entry in GALLERY.items() for d in _datasets(recipe, entry, experiments)
    ]
    figures.tidy(recipe, {*names, *TABLES, FINDINGS})
    return names


def _datasets(recipe: Recipe, entry: Entry, experiments: Sequence[str]) -> list[str]:
    file = _file(recipe, entry.tables[0])
    if entry.experiment and entry.experiment not in experiments or not file.is_file():
        return []
    return list(dict.fromkeys(_table(recipe, entry.tables[0])["dataset"]))


def _file(recipe: Recipe, table: str) -> Path:
    return paths.runs(recipe.profile) / "results" / f"{table}.csv"


def _table(recipe: Recipe, table: str) -> pd.DataFrame:
    return results.parse(_file(recipe, table).read_text(encoding="utf-8"))
