"""What notebook 00 shows, as Markdown: in short, asked, read, found, spent, published, limits.

Results are read from the last run's figures, or from those that a clone brings along; a part that
is not there yet says how to get it.
"""

import re
from pathlib import Path

import pandas as pd

from r2d.data import load_card
from r2d.experiments import grid
from r2d.recipes import Recipe
from r2d.reporting import changes, collect, escape, gallery, tables, takeaway
from r2d.reporting.gallery import FINDINGS

NOTHING = "No results yet: run `./run_all.sh` first."
# How to read each part of the results, before it.
TABLE_1 = (
    "**Table 1: labels and rationales.** Mean ± standard deviation over seeds, in points of 100; "
    "in brackets macro-F1's 95 % interval over seeds and test cases. Read a method's row beside "
    "*Majority class*: on unbalanced data an accuracy that looks high may be no more than that."
)
IN_WORDS = (
    "**Every comparison in words**, generated from the tests. A difference inside its noise is "
    "said to be one."
)
TABLE_2 = (
    "**Table 2: what it costs.** Times are those of one machine: compare them within this table "
    "only. Stage 1 has rows of its own; R2D starts from it."
)
PUBLISHED = (
    "**The published numbers, and ours.** The last column says whether they may be laid side by "
    "side; mostly they may not."
)
SCALE = (
    "The backbone is a T5 of 1.1 million parameters, a teaching scale. It was pretrained on "
    "100,000 notes of the triage generator, without labels or rationales: every method starts out "
    "knowing its phrases, and how to tell what is present from what is denied."
)
SYNTHETIC = (
    "The triage notes are *synthetic*: numbers on them say nothing about patients. The paper's are "
    "private nurse notes, for which they stand in; they can't reproduce its table.",
    "The synthetic rationales are templates; no nurse and no LLM wrote them.",
    "They are read by the wordings that made them: a paraphrase, or a name that is garbled, "
    "advises and names nothing.",
)
OF_SOURCES = "E2 compares templates: it shows how the experiment works, not which source is better."


def in_short(recipe: Recipe) -> str:
    """The results in a few sentences, whichever way the tests went."""
    return "\n".join(f"- {sentence}" for sentence in takeaway.sentences(recipe))


def experiments(recipe: Recipe) -> str:
    """The recipe's experiments, and how many of their runs are finished on this machine."""
    rows = []
    for name, experiment in recipe.experiments.items():
        runs = grid.runs(recipe, [name])
        finished = sum((run.folder / "metrics.json").is_file() for run in runs)
        rows.append(
            {
                "": name,
                "experiment": experiment.title,
                "datasets": ", ".join(experiment.datasets),
                "methods": "; ".join(grid.titles(recipe, name)),
                "seeds": len(experiment.seeds),
                "runs here": f"{finished} of {len(runs)}",
            }
        )
    return escape.table(pd.DataFrame(rows))


def datasets(recipe: Recipe) -> str:
    """The datasets as notebook 01 found them on this machine: what they are, sizes, source."""
    rows = []
    for name in recipe.datasets:
        if not collect.data_file(recipe, name).is_file():
            continue
        noted = collect.dataset(recipe, name)
        sizes = [f"{count:,} {split}" for split, count in noted["counts"].items()]
        rows.append(
            {
                "dataset": name,
                "what it is": noted["title"],
                "cases are": "**synthetic**" if noted["synthetic"] else "real",
                "cases": ", ".join(sizes),
                "source": noted["source"],
            }
        )
    if not rows:
        return "None was read on this machine: notebook 01_data does."
    return escape.table(pd.DataFrame(rows), markdown=["cases are"])


def table_1(recipe: Recipe) -> str:
    """Notebook 06's table with its origin; a value and its interval stay on one line."""
    text = _read(recipe, "table_1.md")
    if text is None:
        return NOTHING
    _, table, *origin = text.split("\n\n")[:3]
    kept_together = re.sub(r"(?<=[\d,±]) (?=[\d\[±])", "\u00a0", table)
    return "\n\n".join([kept_together, *origin])


def findings(recipe: Recipe) -> str:
    """The sentences that the notebooks generated; of a changed recipe, first what that did."""
    text = _read(recipe, FINDINGS)
    if text is None:
        return NOTHING
    before_and_after = _read(recipe, changes.TEXT)
    return f"{before_and_after}\n\n{text}" if before_and_after else text


def results(recipe: Recipe) -> list[str]:
    """What was found, part by part, each after how to read it; one sentence before any run.

    A profile whose experiments make no tables has its findings alone.
    """
    if _read(recipe, FINDINGS) is None:
        return [NOTHING]
    parts = {TABLE_1: table_1, IN_WORDS: findings, TABLE_2: costs, PUBLISHED: published}
    if not grid.in_tables(list(recipe.experiments)):
        parts = {IN_WORDS: findings}
    return [f"{how}\n\n{part(recipe)}" for how, part in parts.items()]


def limitations(recipe: Recipe) -> str:
    """What the numbers of this profile can't say, by its backbone, data and experiments."""
    said = [f"These numbers are of profile {escape.plain(recipe.note)}."]
    if recipe.backbone == "mini-base":
        said.append(SCALE)
    used = {name for each in recipe.experiments.values() for name in each.datasets}
    cards = {recipe.datasets[name].card for name in used}
    if any(load_card(card).synthetic for card in cards):
        said += [*SYNTHETIC, *([OF_SOURCES] if "E2" in recipe.experiments else [])]
    return "\n".join(f"- {sentence}" for sentence in said)


def costs(recipe: Recipe) -> str:
    """Table 2."""
    file = _file(recipe, "table_2.csv")
    return escape.table(tables.costs(tables.read(file))) if file.is_file() else NOTHING


def published(recipe: Recipe) -> str:
    """Each published number with its mark, and every R2D row of table 1 on the same dataset."""
    file = _file(recipe, "table_1.csv")
    if not file.is_file():
        return NOTHING
    table_1 = tables.read(file)
    staged = [name for name, m in recipe.methods.items() if m.objective.startswith("r2d")]
    ours_only = table_1[table_1["method"].isin(staged)]
    column = f"ours, profile {recipe.profile}"
    rows = []
    for _, row in tables.published().iterrows():
        measure = tables.heading(row["measure"], recipe)
        same = ours_only[ours_only["dataset"] == row["dataset"]]
        values = zip(same["title"], tables.cells(same, row["measure"]), strict=True)
        ours = [f"{escape.plain(title)} {value}" for title, value in values]
        around = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.2f}"
        rows.append(
            {
                "dataset": row["dataset"],
                "measure": measure,
                "published": f"{row['value']:.2f}{around} ({row['method']})",
                "mark": row["mark"],
                column: "; ".join(ours) or "not measured in this profile",
                "comparable?": row["comparable"],
            }
        )
    marks = "[2nd]: second-hand, not read in the paper itself."
    return f"{escape.table(pd.DataFrame(rows), markdown=['mark', column])}\n\n{marks}"


def _file(recipe: Recipe, name: str) -> Path:
    return gallery.folder(recipe) / name


def _read(recipe: Recipe, name: str) -> str | None:
    file = _file(recipe, name)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
